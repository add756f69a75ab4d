//! Lists the files of languages, so that a file that is added is there without being named anywhere.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

#[expect(clippy::disallowed_methods, reason = "the store is not built yet")]
fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=languages");
    let root = env::var("CARGO_MANIFEST_DIR").map_err(std::io::Error::other)?;
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
        writeln!(list, "    ({code:?}, include_str!({path:?})),").map_err(std::io::Error::other)?;
    }
    list.push_str("];\n");
    let out = env::var("OUT_DIR").map_err(std::io::Error::other)?;
    fs::write(Path::new(&out).join("languages.rs"), list)
}
