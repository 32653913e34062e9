//! What is committed and not in the tree yet. The tree is written seldom, and much at a time; who reads it looks here first.

use std::iter;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sled::{IVec, Tree};

use super::Writes;

/// Shared between the one thread that writes, and those who read.
#[derive(Clone, Default)]
pub(super) struct Fresh(Arc<RwLock<Writes>>);

/// The tree as it will be.
pub(super) struct View {
    pub(super) tree: Tree,
    pub(super) fresh: Fresh,
}

impl Fresh {
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Writes> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the one thread that writes. What is taken out is in the tree before.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Writes> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    pub(super) fn get(&self, key: &[u8]) -> sled::Result<Option<IVec>> {
        if let Some(fresh) = self.fresh.read().get(key) {
            return Ok(fresh.as_deref().map(IVec::from));
        }
        self.tree.get(key)
    }

    /// Keys and values from `start` on, and before `end`.
    pub(super) fn range(
        &self,
        start: Bound<Vec<u8>>,
        end: Vec<u8>,
    ) -> impl Iterator<Item = sled::Result<(IVec, IVec)>> + use<> {
        let range = (start, Bound::Excluded(end));
        // Before the tree is looked at: it only moves from here to there.
        let fresh: Vec<(Vec<u8>, Option<Vec<u8>>)> = {
            let fresh = self.fresh.read();
            let fresh = fresh.range(range.clone());
            fresh
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let mut fresh = fresh.into_iter().peekable();
        let mut stored = self.tree.range(range).peekable();
        iter::from_fn(move || {
            loop {
                match (fresh.peek(), stored.peek()) {
                    (Some((key, _)), Some(Ok((other, _)))) if key[..] > other[..] => {
                        return stored.next();
                    }
                    (Some((key, _)), Some(Ok((other, _)))) if key[..] == other[..] => {
                        stored.next();
                    }
                    (Some(_), Some(Ok(_)) | None) => {}
                    (_, Some(Err(_))) | (None, _) => return stored.next(),
                }
                if let Some((key, Some(value))) = fresh.next() {
                    return Some(Ok((key.into(), value.into())));
                }
            }
        })
    }

    /// Keys that begin so, and values. No prefix ends with the last byte there is.
    pub(super) fn prefix(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = sled::Result<(IVec, IVec)>> + use<> {
        let mut end = prefix.to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.range(Bound::Included(prefix.to_vec()), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fresh_stands_before_what_is_stored() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let view = View {
            tree: (*db).clone(),
            fresh: Fresh::default(),
        };
        for key in ["a1", "b0", "b2", "b4", "b6", "c1"] {
            view.tree.insert(key, "old").unwrap();
        }
        let mut fresh = Vec::new();
        for (key, value) in [
            ("a2", Some("new")),
            ("b1", Some("new")),
            ("b2", None),
            ("b3", None),
            ("b4", Some("new")),
            ("b7", Some("new")),
        ] {
            fresh.push((key.into(), value.map(Into::into)));
        }
        view.fresh.write().extend(fresh);
        let text = |bytes: IVec| String::from_utf8(bytes.to_vec()).unwrap();
        let there: Vec<String> = view
            .prefix(b"b")
            .map(Result::unwrap)
            .map(|(key, value)| format!("{} {}", text(key), text(value)))
            .collect();
        assert_eq!(there, ["b0 old", "b1 new", "b4 new", "b6 old", "b7 new"]);
        let from = view.range(Bound::Excluded(b"b1".to_vec()), b"b7".to_vec());
        let keys: Vec<String> = from.map(|item| text(item.unwrap().0)).collect();
        assert_eq!(keys, ["b4", "b6"]);
        for (key, value) in [
            ("b0", Some("old")),
            ("b2", None),
            ("b4", Some("new")),
            ("b9", None),
        ] {
            let got = view.get(key.as_bytes()).unwrap();
            assert_eq!(got.map(text).as_deref(), value, "{key}");
        }
    }
}
