//! Values in scripts: quoted or refused, and put into templates.

use super::Usage;

/// A word of shell that stands for just this text.
///
/// # Errors
/// If it holds a control character, which nobody could read in a script.
pub(super) fn quoted(text: &str) -> Result<String, Usage> {
    check("a value of a script", text)?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Refuses control characters, line breaks among them.
fn check(what: &str, text: &str) -> Result<(), Usage> {
    match text.chars().any(char::is_control) {
        true => Err(Usage(format!("{what} holds a control character: `{}`", text.escape_debug()))),
        false => Ok(()),
    }
}

/// Values that are not words of shell.
pub(super) struct Field;

impl Field {
    /// A line that stands in the script as it is.
    pub(super) fn line(option: &str, line: &str) -> Result<String, Usage> {
        check(&format!("`{option}`"), line)?;
        Ok(line.to_owned())
    }

    /// An option of sbatch as a line that sbatch reads.
    pub(super) fn option(option: &str) -> Result<String, Usage> {
        check("`--sbatch`", option)?;
        match option.starts_with('-') {
            true => Ok(format!("#SBATCH {option}")),
            false => Err(Usage(format!(
                "`--sbatch {option}` is no option of sbatch: write for example `--sbatch=--{}`",
                if option.contains('=') { option.to_owned() } else { format!("partition={option}") }
            ))),
        }
    }

    /// A folder that sbatch writes logs to. Slurm reads the name as a pattern between double quotes.
    pub(super) fn log_folder(folder: &str) -> Result<String, Usage> {
        check("the folder of the logs", folder)?;
        match folder.chars().find(|letter| matches!(letter, '%' | '\\' | '"' | '\'')) {
            Some(letter) => {
                Err(Usage(format!("logs cannot be written to `{folder}`: Slurm does not take `{letter}` for itself")))
            }
            None => Ok(folder.to_owned()),
        }
    }

    /// Numbers of jobs, as arguments of the script's `after`.
    pub(super) fn jobs(after: &str) -> Result<String, Usage> {
        let is_number = |job: &str| !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
        let jobs: Vec<&str> = after.trim().split(':').filter(|_| !after.trim().is_empty()).collect();
        match jobs.iter().all(|job| is_number(job)) {
            true => Ok(jobs.join(" ")),
            false => Err(Usage(format!("`--after` is `{}`: write numbers of jobs, as `12:13`", after.escape_debug()))),
        }
    }
}

/// A template with its fields, `@NAME@`, replaced in one pass: what a value holds stays as it is. Lines that a field leaves empty
/// are left out.
pub(super) fn filled(template: &str, fields: &[(&str, String)]) -> String {
    let mut script = String::with_capacity(template.len());
    for line in template.lines() {
        let mut rest = line;
        let mut told = String::with_capacity(line.len());
        while let Some(start) = rest.find('@') {
            let (before, from) = rest.split_at(start);
            told.push_str(before);
            let field = fields
                .iter()
                .find(|(name, _)| from[1..].strip_prefix(*name).is_some_and(|after| after.starts_with('@')));
            rest = match field {
                Some((name, value)) => {
                    told.push_str(value);
                    &from[name.len() + 2..]
                }
                None => {
                    told.push('@');
                    &from[1..]
                }
            };
        }
        told.push_str(rest);
        if !told.is_empty() || line.is_empty() {
            script.push_str(&told);
            script.push('\n');
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_what_was_quoted(text in "[^\\p{Cc}]{0,40}") {
            let script = format!("printf %s {}", quoted(&text).unwrap());
            let read = Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(read.stdout).unwrap(), text);
        }
    }

    #[test]
    fn values_that_cannot_stand_in_a_script_are_refused() {
        assert!(quoted("a\nb").is_err());
        assert!(Field::line("--setup", "true\nfalse").is_err());
        assert!(Field::option("gpu").unwrap_err().to_string().contains("--sbatch=--partition=gpu"));
        assert!(Field::option("mem=4G").unwrap_err().to_string().ends_with("`--sbatch=--mem=4G`"));
        assert_eq!(Field::option("--mem=4G").unwrap(), "#SBATCH --mem=4G");
        for folder in ["/a%j", "/a\"b", "/a'b", "/a\\b", "/a\nb"] {
            assert!(Field::log_folder(folder).is_err(), "{folder:?}");
        }
        assert_eq!(Field::log_folder("/a b/ü").unwrap(), "/a b/ü");
        for jobs in ["x", "1,2", "1;rm", "$(id)", ":", "1:", "1 2"] {
            assert!(Field::jobs(jobs).is_err(), "{jobs:?}");
        }
        assert_eq!(Field::jobs("").unwrap(), "");
        assert_eq!(Field::jobs("12:13_4\n").unwrap(), "12 13_4");
    }

    #[test]
    fn fields_are_replaced_once() {
        let fields = [("A", "@B@".to_owned()), ("B", "two".to_owned()), ("NONE", String::new())];
        assert_eq!(filled("x @A@@B@ a@b\n\n@NONE@\n@C@ @", &fields), "x @B@two a@b\n\n@C@ @\n");
    }
}
