//! `memtrain wikitext`: the clean text of one page of markup, as the corpus gets it.

use std::borrow::Cow;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use memtrain_corpora::languages;
use memtrain_corpora::store::ScalarIndex;
use memtrain_corpora::wikitext::{CleanOptions, CleanPage, Keep, Math, WikiContext, clean_titled, redirect_target};
use serde::Serialize;

use super::choice::choices;
use super::counts::count;
use super::input::Input;
use super::print::{output, raw_output};
use super::template_holes;

/// Arguments of `memtrain wikitext`.
#[derive(Debug, Args)]
pub struct WikitextArgs {
    /// File with the wikitext of one page; stdin if absent or `-`
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Title of the page, for `{{PAGENAME}}`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub title: String,
    /// Language of the wiki: names of namespaces and templates, forms of dates and numbers; `en` if absent, with `--holes` that of
    /// the dump
    #[arg(long, value_name = "CODE")]
    pub language: Option<String>,
    /// Read a whole dump instead and list its templates that leave holes in sentences, the most frequent N of them
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "50",
        conflicts_with_all = ["json", "headings", "title"], value_parser = count::<usize>)]
    pub holes: Option<usize>,
    /// Print an object with sections, links, categories and infoboxes; offsets count Unicode characters of its text
    #[arg(long)]
    pub json: bool,
    /// Print the headings too, as `## Heading`
    #[arg(long, conflicts_with = "json")]
    pub headings: bool,
    /// What becomes of tables
    #[arg(long, default_value = "drop", value_parser = choices::<Keep>(&KEEP))]
    pub tables: Keep,
    /// What becomes of infoboxes
    #[arg(long, default_value = "drop", value_parser = choices::<Keep>(&KEEP))]
    pub infoboxes: Keep,
    /// What becomes of formulas
    #[arg(long, default_value = "simple", value_parser = choices::<Math>(&MATH))]
    pub math: Math,
    /// What becomes of how words are pronounced
    #[arg(long, default_value = "drop", value_parser = choices::<Keep>(&KEEP))]
    pub pronunciations: Keep,
}

/// Whether something is kept, as it is typed.
const KEEP: [(&str, &str); 2] = [("drop", "Leave it out"), ("keep", "Keep it as text, a line a row or fact")];

/// What becomes of formulas, as it is typed.
const MATH: [(&str, &str); 3] =
    [("drop", "Leave them out"), ("simple", "Show those that can be written in a line"), ("tex", "Show their TeX")];

/// A page as it is printed with `--json`. Offsets count Unicode scalars of `text`, half-open.
#[derive(Debug, Serialize)]
struct PrintedPage<'page> {
    title: &'page str,
    /// Where the page leads, if it is a redirect; its text is empty then.
    redirect: Option<String>,
    text: &'page str,
    sections: Vec<PrintedSection<'page>>,
    links: Vec<PrintedLink<'page>>,
    categories: &'page [String],
    infoboxes: &'page [String],
}

#[derive(Debug, Serialize)]
struct PrintedSection<'page> {
    title: &'page str,
    level: u8,
    char_start: u32,
    char_end: u32,
}

#[derive(Debug, Serialize)]
struct PrintedLink<'page> {
    char_start: u32,
    char_end: u32,
    surface: &'page str,
    target: &'page str,
}

/// Warns of a code of which no file of languages tells anything: it may be misspelt.
pub(super) fn warn_of_unknown_language(code: &str) {
    if languages::find(code).is_none() {
        tracing::warn!("nothing is known of a language `{code}`: the rules that hold in all languages are taken");
    }
}

/// Cleans one page and prints it, or lists the templates of a dump that leave holes.
///
/// # Errors
/// If the input cannot be read or is not UTF-8.
pub fn run(args: &WikitextArgs) -> anyhow::Result<()> {
    if let Some(code) = &args.language {
        warn_of_unknown_language(code);
    }
    if let Some(most) = args.holes {
        return template_holes::run(args.file.as_deref(), args.language.as_deref(), most);
    }
    let wikitext = Input::read(args.file.as_deref())?.text()?;
    let options = CleanOptions {
        tables: args.tables,
        infoboxes: args.infoboxes,
        math: args.math,
        pronunciations: args.pronunciations,
    };
    let context = WikiContext::default().with_language(args.language.as_deref().unwrap_or("en")).with_options(options);
    let redirect = redirect_target(&wikitext);
    // What stands below a redirect is for the wiki's own use.
    let wikitext = if redirect.is_some() { "" } else { wikitext.as_str() };
    let page = clean_titled(wikitext, &args.title, &context);
    // Text goes on to other programs as it is; a terminal is not to be steered by it.
    let is_data = !args.json && !std::io::stdout().is_terminal();
    let mut out = BufWriter::new(if is_data { raw_output() } else { output() });
    if args.json {
        serde_json::to_writer(&mut out, &printed(&args.title, redirect, &page))?;
        writeln!(out)?;
    } else {
        if let Some(target) = redirect {
            tracing::warn!("the page has no text: it is a redirect to `{target}`");
        }
        let text =
            if args.headings { Cow::Owned(page.text_with_headings()) } else { Cow::Borrowed(page.text.as_str()) };
        if !text.is_empty() {
            writeln!(out, "{text}")?;
        }
    }
    out.flush()?;
    Ok(())
}

fn printed<'page>(title: &'page str, redirect: Option<String>, page: &'page CleanPage) -> PrintedPage<'page> {
    let index = ScalarIndex::new(&page.text);
    // Spans lie on characters, so there is always a number.
    let scalars = |span| index.to_scalars(span).unwrap_or_default();
    let sections = page.sections.iter().map(|section| {
        let (char_start, char_end) = scalars(&section.span);
        PrintedSection { title: &section.title, level: section.level, char_start, char_end }
    });
    let links = page.links.iter().map(|link| {
        let (char_start, char_end) = scalars(&link.span);
        PrintedLink { char_start, char_end, surface: &page.text[link.span.clone()], target: &link.target }
    });
    PrintedPage {
        title,
        redirect,
        text: &page.text,
        sections: sections.collect(),
        links: links.collect(),
        categories: &page.categories,
        infoboxes: &page.infoboxes,
    }
}
