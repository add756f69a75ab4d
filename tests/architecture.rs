//! The table of crates in `ARCHITECTURE.md` matches the workspace that cargo builds, and the modules of a crate import each
//! other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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

/// Modules of a crate, and which of the others each imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in store::list(folder).unwrap() {
        match store::is_dir(&path) {
            true => sources(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The first names of what follows `from` wherever it stands in a source, those of a group in braces each.
fn names_after<'t>(text: &'t str, from: &str) -> Vec<&'t str> {
    let name = |text: &'t str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        &text[..end]
    };
    let mut names = Vec::new();
    for (at, _) in text.match_indices(from) {
        let is_whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
        let rest = &text[at + from.len()..];
        match rest.strip_prefix('{').filter(|_| is_whole) {
            None if is_whole => names.push(name(rest)),
            None => {}
            Some(group) => {
                let (mut depth, mut begins) = (0, true);
                for (at, c) in group.char_indices() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        c if begins && c.is_alphanumeric() => {
                            names.push(name(&group[at..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

/// The modules below a crate's root, without its tests.
fn imports(folder: &Path) -> Imports {
    let mut files = Vec::new();
    sources(folder, &mut files);
    let mut texts: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for file in files {
        let path = file.strip_prefix(folder).unwrap().with_extension("");
        let mut parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        if parts == ["lib"] || parts == ["main"] || parts.contains(&"tests") {
            continue;
        }
        let text = store::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        texts.entry(parts[0].to_owned()).or_default().push((parts.len(), code));
    }
    let of_module = |(module, sources): (&String, &Vec<(usize, String)>)| {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (depth, code) in sources {
            let above = "super::".repeat(*depth);
            let found = names_after(code, "crate::").into_iter().chain(names_after(code, &above));
            names.extend(found.filter(|name| name != module && texts.contains_key(*name)).map(str::to_owned));
        }
        (module.clone(), names)
    };
    texts.iter().map(of_module).collect()
}

#[test]
fn modules_of_a_crate_import_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut num_imports = 0;
    for (name, (folder, _)) in built(root) {
        let folder = if folder == "src" { root.join("src") } else { root.join(folder).join("src") };
        let mut imports = imports(&folder);
        if name == "memtrain-kernels" {
            // What a card computes is asked for where an operation is, and made of the same shapes and plans.
            imports.remove("cuda");
        }
        if name == "memtrain-pipeline" {
            // A back-end for entities is named in the configuration that it is given.
            imports.get_mut("config").map(|imported| imported.remove("entities"));
        }
        num_imports += imports.values().map(BTreeSet::len).sum::<usize>();
        while let Some(last) = imports
            .iter()
            .find(|(_, imported)| !imported.iter().any(|name| imports.contains_key(name)))
            .map(|(last, _)| last.clone())
        {
            imports.remove(&last);
        }
        assert!(imports.is_empty(), "`{name}`: modules import each other in a circle: {imports:?}");
    }
    assert!(num_imports > 100, "{num_imports} imports were found");
}
