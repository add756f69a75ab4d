//! One text as input: a file, or standard input for `-`.

use std::path::Path;

use memtrain_corpora::store;

use super::failure::WithHint;

/// The bytes of an input with its name for messages.
#[derive(Debug)]
pub struct Input {
    /// The file in backticks, or `stdin`.
    pub name: String,
    /// All of it, [`store::MAX_READ_BYTES`] at most.
    pub bytes: Vec<u8>,
}

impl Input {
    /// Reads a file; standard input where none is named, or `-`.
    ///
    /// # Errors
    /// If it cannot be read, or is larger than what is read as a whole.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        match file.filter(|file| *file != Path::new("-")) {
            Some(file) => Ok(Self { name: format!("`{}`", file.display()), bytes: store::read(file)? }),
            None => {
                let bytes = store::read_stream(Path::new("stdin"), std::io::stdin().lock(), store::MAX_READ_BYTES)?;
                Ok(Self { name: "stdin".to_owned(), bytes })
            }
        }
    }

    /// The text, without a byte-order mark at its beginning.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn text(self) -> anyhow::Result<String> {
        let Self { name, bytes } = self;
        let text = String::from_utf8(bytes).map_err(|error| {
            anyhow::anyhow!("{name} is not UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to())
        });
        let text = text.hint(|| "convert it first, for example with `iconv -f UTF-16 -t UTF-8`".into())?;
        Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
    }
}
