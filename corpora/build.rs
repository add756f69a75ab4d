//! Lists the files of languages, so that a file that is added is there without being named anywhere. Comments and the spaces around
//! `=` are left out of what the program carries.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

#[expect(clippy::disallowed_methods, reason = "the store is not built yet")]
fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=languages");
    let root = env::var("CARGO_MANIFEST_DIR").map_err(std::io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(std::io::Error::other)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(Path::new(&root).join("languages"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut list = String::from("const FILES: &[(&str, &str)] = &[\n");
    for path in &files {
        let code = path.file_stem().unwrap_or_default();
        writeln!(list, "    ({code:?}, {:?}),", tight(&fs::read_to_string(path)?)).map_err(std::io::Error::other)?;
    }
    list.push_str("];\n");
    fs::write(Path::new(&out).join("languages.rs"), list)
}

/// The same facts in fewer bytes. Every table's name stands behind a line break. Strings of several lines stay as they are.
fn tight(text: &str) -> String {
    let mut tight = String::from("\n");
    let mut in_string = false;
    for line in text.lines() {
        let is_entry = !in_string && !line.starts_with([' ', '[', ']']);
        in_string ^= line.matches("'''").count() % 2 == 1;
        match line.split_once(" = ") {
            _ if is_entry && (line.is_empty() || line.starts_with('#')) => continue,
            Some((key, value)) if is_entry => tight.extend([key, "=", value]),
            _ if in_string => tight.push_str(line),
            // A comment may stand behind a table's name.
            _ if line.starts_with('[') => {
                tight.push_str(line.split_once(" #").map_or(line, |(name, _)| name).trim_end())
            }
            _ => tight.push_str(line.trim_start()),
        }
        tight.push('\n');
    }
    tight
}
