//! The cache that `huggingface_hub`, `transformers` and others share.

use std::path::{Path, PathBuf};

use memtrain_corpora::store;

/// A model of the hub at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// `organisation/model`.
    pub(crate) name: String,
    /// A branch, a tag, or a commit.
    pub(crate) revision: String,
}

impl Repository {
    /// `organisation/model`, with `@revision` behind it or not.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (model, revision) = name.split_once('@').unwrap_or((name, "main"));
        let (organisation, own) = model.split_once('/')?;
        let fits = is_plain(organisation) && is_plain(own) && revision.split('/').all(is_plain);
        fits.then(|| Self { name: model.to_owned(), revision: revision.to_owned() })
    }

    /// Its folder in a cache.
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("models--{}", self.name.replace('/', "--")))
    }

    /// The folder with the files of its revision, if the cache has one.
    pub(crate) fn snapshot(&self, cache: &Path) -> Option<PathBuf> {
        let folder = self.folder(cache);
        // A revision that is a commit has no entry in `refs`.
        let commit = match is_commit(&self.revision) {
            true => self.revision.clone(),
            false => store::read_to_string(&folder.join("refs").join(&self.revision)).ok()?.trim().to_owned(),
        };
        let snapshot = folder.join("snapshots").join(&commit);
        (is_plain(&commit) && store::is_dir(&snapshot)).then_some(snapshot)
    }

    /// Writes down which commit the revision is.
    pub(crate) fn point(&self, cache: &Path, commit: &str) -> Result<(), store::StoreError> {
        if is_commit(&self.revision) {
            return Ok(());
        }
        let reference = self.folder(cache).join("refs").join(&self.revision);
        if let Some(folder) = reference.parent() {
            store::create_dir_all(folder)?;
        }
        store::write_atomic(&reference, commit)
    }
}

/// Whether a text from outside may be a part of a path: letters, digits, `-`, `_`, `.`, not hidden, of moderate length.
pub(crate) fn is_plain(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty() && part.len() <= 128 && !part.starts_with('.') && part.bytes().all(known)
}

/// Whether a path from outside stays inside of the folder that it is put into.
pub(crate) fn is_plain_path(path: &str) -> bool {
    path.len() <= 512 && path.split('/').all(is_plain)
}

/// Whether a text is a commit: 40 hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for name in ["Qwen/Qwen3-4B-Instruct-2507", "a/b@v1.0", "a/b@refs/pr/3", "BAAI/bge-small-en-v1.5"] {
            assert!(Repository::parse(name).is_some(), "{name}");
        }
        for path in
            ["gpt2", "/models/a", "./a/b", "../a", "a/b/c", "a/", "/b", "a/b@", "a b/c", "a/.b", "~/model", "a/b@../c"]
        {
            assert!(Repository::parse(path).is_none(), "{path}");
        }
        assert_eq!(Repository::parse("a/b@v1").map(|repository| repository.revision).as_deref(), Some("v1"));
    }

    #[test]
    fn a_commit_in_the_cache_is_a_name_and_no_path() -> Result<(), store::StoreError> {
        let cache = tempfile::tempdir().unwrap();
        let repository = Repository { name: "a/b".to_owned(), revision: "main".to_owned() };
        let folder = repository.folder(cache.path());
        store::create_dir_all(&folder.join("snapshots/0a"))?;
        repository.point(cache.path(), "0a\n")?;
        assert_eq!(repository.snapshot(cache.path()), Some(folder.join("snapshots/0a")));
        repository.point(cache.path(), "../../..")?;
        assert_eq!(repository.snapshot(cache.path()), None);
        Ok(())
    }
}
