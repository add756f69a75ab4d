//! The table of crates in `ARCHITECTURE.md` matches the workspace that cargo builds, and modules beside each other import each
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

/// The code of a crate by module, `a::b` as two parts, without tests and comments.
type Sources = BTreeMap<Vec<String>, String>;

/// Modules beside each other, and which of the others each imports.
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

fn modules(folder: &Path) -> Sources {
    let mut files = Vec::new();
    sources(folder, &mut files);
    let mut modules = Sources::new();
    for file in files {
        let path = file.strip_prefix(folder).unwrap().with_extension("");
        let mut parts: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if parts.iter().any(|part| part == "tests") {
            continue;
        }
        if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] || parts == ["main"] {
            parts.pop();
        }
        let text = store::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        // `self::` says nothing that its absence does not.
        let code = lines.collect::<Vec<_>>().join("\n").replace("self::", "");
        modules.entry(parts).or_default().push_str(&code);
    }
    modules
}

/// Imports among the modules that `parent` has, each with all below it as one: by its name, or by a name that `parent` has from it.
/// What a module has from its parent itself does not count.
fn imports(modules: &Sources, parent: &[String]) -> Imports {
    let inside = |module: &&Vec<String>| module.len() > parent.len() && module.starts_with(parent);
    let mut imports = Imports::new();
    for module in modules.keys().filter(inside) {
        imports.entry(module[parent.len()].clone()).or_default();
    }
    let mut origins: BTreeMap<&str, String> = BTreeMap::new();
    for child in imports.keys() {
        let named = modules.get(parent).map_or("", String::as_str);
        origins.extend(names_after(named, &format!("{child}::")).into_iter().map(|name| (name, child.clone())));
    }
    let from_root: String =
        ["crate"].into_iter().chain(parent.iter().map(String::as_str)).map(|part| format!("{part}::")).collect();
    for (module, code) in modules.iter().filter(|(module, _)| inside(module)) {
        let own = &module[parent.len()];
        let above = "super::".repeat(module.len() - parent.len());
        for name in names_after(code, &from_root).into_iter().chain(names_after(code, &above)) {
            let found = imports.keys().find(|child| *child == name).or_else(|| origins.get(name)).cloned();
            if let Some(other) = found.filter(|other| other != own) {
                imports.entry(own.clone()).or_default().insert(other);
            }
        }
    }
    imports
}

/// What is left of modules when those are taken away that import none of the rest: circles and what leads to them.
fn circles(mut imports: Imports) -> Imports {
    let is_last = |imported: &BTreeSet<String>, left: &Imports| !imported.iter().any(|name| left.contains_key(name));
    while let Some((last, _)) = imports.iter().find(|(_, imported)| is_last(imported, &imports)) {
        let last = last.clone();
        imports.remove(&last);
    }
    imports
}

#[test]
fn modules_beside_each_other_import_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut num_imports = 0;
    for (name, (folder, _)) in built(root) {
        let folder = if folder == "src" { root.join("src") } else { root.join(folder).join("src") };
        let modules = modules(&folder);
        let parents: BTreeSet<&[String]> = modules.keys().filter_map(|module| Some(module.split_last()?.1)).collect();
        for parent in parents {
            let mut imports = imports(&modules, parent);
            // What a card computes is asked for where an operation is, and made of the same shapes and plans.
            imports.remove("cuda");
            num_imports += imports.values().map(BTreeSet::len).sum::<usize>();
            let circles = circles(imports);
            assert!(circles.is_empty(), "`{name}`, modules of `{}` import each other: {circles:?}", parent.join("::"));
        }
    }
    assert!(num_imports > 700, "{num_imports} imports were found");
}

#[test]
fn a_circle_is_found_at_any_depth_and_through_names_of_the_parent() {
    let imported = |sources: &[(&str, &str)], parent: &str| {
        let parts =
            |path: &str| path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let modules = sources.iter().map(|(module, code)| (parts(module), (*code).to_owned())).collect();
        circles(imports(&modules, &parts(parent))).into_keys().collect::<Vec<String>>()
    };
    let straight = [("", "pub use a::A;"), ("a", "use crate::b::B;"), ("b", "use super::c::{self, D};"), ("c", "")];
    assert_eq!(imported(&straight, ""), [""; 0]);
    let renamed = [("", "pub use a::{A, A2};"), ("a", "use crate::b::B;"), ("b::deep", "use crate::A2;")];
    assert_eq!(imported(&renamed, ""), ["a", "b"]);
    let inner = [
        ("p", "mod x; mod y; pub struct Own;"),
        ("p::x", "use super::{Own, y::Y};"),
        ("p::y", "fn f(x: &super::x::X) {}"),
    ];
    assert_eq!(imported(&inner, ""), [""; 0]);
    assert_eq!(imported(&inner, "p"), ["x", "y"]);
    let parent_alone = [("p", "mod x; use x::X; pub struct Own;"), ("p::x", "use super::Own;")];
    assert_eq!(imported(&parent_alone, "p"), [""; 0]);
}
