//! The table of crates in `ARCHITECTURE.md` matches the workspace that cargo builds.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use memtrain_corpora::store;
use serde_json::Value;

/// Folder and dependencies of a crate, as the table and cargo tell them.
type Crates = BTreeMap<String, (String, Vec<String>)>;

fn drawn(text: &str) -> Crates {
    let rows = text.lines().filter(|line| line.starts_with("| `memtrain"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |cell: &str| -> Vec<String> {
            let mut names: Vec<String> = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            names.sort();
            names
        };
        (names(cells[1])[0].clone(), (names(cells[2])[0].trim_end_matches('/').to_owned(), names(cells[4])))
    })
    .collect()
}

fn built(root: &Path) -> Crates {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args(["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let described = packages.iter().map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let folder = manifest.strip_prefix(root).unwrap().to_str().unwrap();
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|one| one["kind"].is_null());
        let own = normal.filter_map(|one| one["name"].as_str()?.strip_prefix("memtrain-").map(str::to_owned));
        let mut own: Vec<String> = own.collect();
        own.sort();
        let folder = if folder.is_empty() { "src" } else { folder };
        (package["name"].as_str().unwrap().to_owned(), (folder.to_owned(), own))
    });
    described.collect()
}

#[test]
fn the_table_of_crates_is_what_cargo_builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = store::read_to_string(&root.join("ARCHITECTURE.md")).unwrap();
    let (drawn, built) = (drawn(&text), built(root));
    assert_eq!(drawn, built);
    let mut above: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| `memtrain")) {
        let name = line.split('`').nth(1).unwrap();
        let unknown = drawn[name].1.iter().find(|known| !above.contains(known));
        assert_eq!(unknown, None, "`{name}` depends on a crate below it");
        above.extend(name.strip_prefix("memtrain-").map(str::to_owned));
    }
}
