//! Names of files: from [`File`] to path and, strictly, back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::sys::fault;
use crate::blob::{BlobError, File};
use crate::upload::UploadId;

/// The directories under the store's, one for each kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    Files,
    Segments,
    Info,
}

impl Tree {
    const ALL: [Self; 3] = [Self::Files, Self::Segments, Self::Info];

    const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Segments => "segments",
            Self::Info => "info",
        }
    }
}

/// Paths under one directory.
#[derive(Debug)]
pub(super) struct Paths {
    root: PathBuf,
}

impl Paths {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The three directories that shards lie in.
    pub(super) fn trees(&self) -> impl Iterator<Item = PathBuf> {
        Tree::ALL
            .into_iter()
            .map(|tree| self.root.join(tree.name()))
    }

    pub(super) fn of(&self, file: &File) -> PathBuf {
        if let File::Chosen(_, path) = file {
            // For people: whoever opens it goes another way.
            return self.root.join(path.as_str());
        }
        let id = file.owner();
        let name = id.as_str().replace('/', ",");
        let (tree, name) = match file {
            File::Upload(_) => (Tree::Files, name),
            File::Link(_, n) => (Tree::Segments, format!("{name}~{n}")),
            File::Draft(_) => (Tree::Segments, format!("{name}~draft")),
            File::List(_) => (Tree::Segments, format!("{name}~list.json")),
            File::About(_) | File::Chosen(..) => (Tree::Info, format!("{name}.json")),
        };
        let mut path = self.root.join(tree.name());
        path.push(shard_of(id));
        path.push(name);
        path
    }

    /// The names of all shards, in order.
    pub(super) fn shards(&self) -> Result<Vec<String>, BlobError> {
        let mut shards = BTreeSet::new();
        for tree in self.trees() {
            for entry in read_dir(&tree)? {
                let entry = entry.map_err(|e| fault(&tree, e))?;
                if let Some(name) = entry.file_name().to_str().filter(|name| is_shard(name)) {
                    shards.insert(name.to_owned());
                }
            }
        }
        Ok(shards.into_iter().collect())
    }

    /// The store's files in one shard; those of others are passed over.
    pub(super) fn files(&self, shard: &str) -> Result<Vec<File>, BlobError> {
        let mut files = Vec::new();
        if !is_shard(shard) {
            return Ok(files);
        }
        for tree in Tree::ALL {
            let dir = self.root.join(tree.name()).join(shard);
            for entry in read_dir(&dir)? {
                let entry = entry.map_err(|e| fault(&dir, e))?;
                let name = entry.file_name();
                let Some(file) = name.to_str().and_then(|name| parse(tree, shard, name)) else {
                    continue;
                };
                let kind = entry.file_type().map_err(|e| fault(&entry.path(), e))?;
                if kind.is_file() {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }
}

/// The entries of a directory, none if it is not there.
fn read_dir(dir: &Path) -> Result<impl Iterator<Item = io::Result<fs::DirEntry>>, BlobError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(e) => Err(fault(dir, e)),
    }
}

/// The first two characters of the id; what could be more than a plain name is `_`.
fn shard_of(id: &UploadId) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut shard: String = id.as_str().chars().take(2).map(plain).collect();
    while shard.len() < 2 {
        shard.push('_');
    }
    shard
}

fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The file that has this name, if it is exactly the name that [`Paths::of`] gives it.
fn parse(tree: Tree, shard: &str, name: &str) -> Option<File> {
    let id = |stem: &str| -> Option<UploadId> {
        let id = stem.replace(',', "/").parse().ok()?;
        (shard_of(&id) == shard).then_some(id)
    };
    match tree {
        Tree::Files => id(name).map(File::Upload),
        Tree::Info => id(name.strip_suffix(".json")?).map(File::About),
        Tree::Segments => {
            let (stem, rest) = name.split_once('~')?;
            match rest {
                "draft" => id(stem).map(File::Draft),
                "list.json" => id(stem).map(File::List),
                digits => {
                    let n: u32 = digits.parse().ok()?;
                    (n.to_string() == digits).then_some(())?;
                    Some(File::Link(id(stem)?, n))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &File) -> String {
        let path = Paths::new(Path::new("/d")).of(file);
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn paths_are_stable() {
        let id = |text: &str| text.parse::<UploadId>().unwrap();
        let plain = id("24e533e0-2ec8");
        for (file, path) in [
            (File::Upload(plain.clone()), "/d/files/24/24e533e0-2ec8"),
            (
                File::Link(plain.clone(), 7),
                "/d/segments/24/24e533e0-2ec8~7",
            ),
            (
                File::Draft(plain.clone()),
                "/d/segments/24/24e533e0-2ec8~draft",
            ),
            (
                File::List(plain.clone()),
                "/d/segments/24/24e533e0-2ec8~list.json",
            ),
            (File::About(plain), "/d/info/24/24e533e0-2ec8.json"),
            (File::Upload(id("a/b")), "/d/files/a_/a,b"),
            (File::Upload(id("..x")), "/d/files/__/..x"),
            (File::Upload(id("A-_.9")), "/d/files/A_/A-_.9"),
            (File::Upload(id("x")), "/d/files/x_/x"),
        ] {
            assert_eq!(of(&file), path);
        }
    }

    #[test]
    fn names_of_others_are_not_taken_for_ours() {
        for (tree, name) in [
            (Tree::Files, "ab.tmp~"),
            (Tree::Files, "ab c"),
            (Tree::Files, "ba"),
            (Tree::Files, "ab,,c"),
            (Tree::Files, "ab,.."),
            (Tree::Info, "ab"),
            (Tree::Info, ".json"),
            (Tree::Segments, "ab"),
            (Tree::Segments, "ab~"),
            (Tree::Segments, "ab~01"),
            (Tree::Segments, "ab~+1"),
            (Tree::Segments, "ab~4294967296"),
            (Tree::Segments, "ab~draft~"),
            (Tree::Segments, "ab~list"),
        ] {
            assert_eq!(parse(tree, "ab", name), None, "{name}");
        }
        let ours = parse(Tree::Segments, "ab", "ab,c~4294967295");
        assert_eq!(ours, Some(File::Link("ab/c".parse().unwrap(), u32::MAX)));
    }
}
