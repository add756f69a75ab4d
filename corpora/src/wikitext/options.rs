//! Options of cleaning: the treatment of the parts of a page that are not running text.

use serde::{Deserialize, Serialize};

/// What is kept of a page besides its prose. The default is prose alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanOptions {
    /// Tables: a line a row, ` | ` between the cells.
    pub tables: Keep,
    /// Boxes of facts (`{{Infobox …}}` and its kin): a line a fact, `name: value`.
    pub infoboxes: Keep,
    /// Formulas.
    pub math: Math,
    /// How words are pronounced: `/ˈpærɪs/`, `[paʁi]`, `PARR-iss`.
    pub pronunciations: Keep,
}

/// Whether something is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// It is left out.
    #[default]
    Drop,
    /// It stays, as plain text.
    Keep,
}

/// What becomes of `<math>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Math {
    /// Left out.
    Drop,
    /// As Unicode text where it can be written in a line (`α₁ ≤ x²`), else left out.
    #[default]
    Simple,
    /// Its TeX source.
    Tex,
}
