//! POST `/uploads/initialize`: a new session.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::time::timeout;

use super::{Door, json as form};
use crate::answer::{self, ResponseBody};
use crate::engine::{NewSession, Priority, Proposed};
use crate::error::Reject;
use crate::hooks::Answer;
use crate::protocol::metadata::UploadMetadata;
use crate::protocol::sha256::Sum;
use crate::upload::Kind;

/// The most bytes of JSON.
const MOST: usize = 64 << 10;
/// The longest name of a file, in bytes.
const LONGEST_NAME: usize = 1024;
/// The most bytes of metadata, as `Upload-Metadata` has them, the file's name included.
const MOST_METADATA: usize = 8 << 10;
/// No silence is longer, whatever the configuration says.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a client asks for. Fields of other names are passed over, so that a client may say more than this server knows.
#[derive(Debug, Deserialize)]
struct Asked {
    filename: String,
    size: u64,
    #[serde(default)]
    chunk_size: Option<u64>,
    #[serde(default)]
    file_hash: Option<Sum>,
    #[serde(default = "yes")]
    verify: bool,
    #[serde(default, deserialize_with = "once_each")]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    priority: Priority,
}

fn yes() -> bool {
    true
}

/// A map whose keys stand once each: of two values for one, neither is surely meant.
fn once_each<'de, D>(from: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: Deserializer<'de>,
{
    struct OnceEach;
    impl<'de> Visitor<'de> for OnceEach {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("texts by their keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut all = BTreeMap::new();
            while let Some((key, value)) = pairs.next_entry()? {
                if all.insert(key, value).is_some() {
                    return Err(A::Error::custom("a key of metadata stands twice"));
                }
            }
            Ok(all)
        }
    }
    from.deserialize_map(OnceEach)
}

pub(super) async fn answer<B>(
    door: &Door,
    head: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, Reject>
where
    B: Body<Data = Bytes> + Send + Unpin,
{
    let mut visitor = door.settings.gate.enter(head, false)?;
    let by = visitor.creator()?;
    door.engine.may_access(false, None).await?;
    let patience = door.settings.patience.unwrap_or(PATIENCE).min(PATIENCE);
    let new = NewSession {
        by,
        ..parse(&read(body, patience).await?)?
    };
    let proposed = Proposed {
        kind: Kind::Final,
        length: Some(new.size),
        metadata: Some(new.metadata.clone()),
        parts: Vec::new(),
        by: new.by.as_deref(),
    };
    let chosen = door.engine.may_create(proposed).await?;
    if chosen
        .id
        .as_ref()
        .is_some_and(|id| id.as_str().contains('/'))
    {
        let why = "ChangeFileInfo.ID: a session's has no /";
        return Err(Reject::HookFailed(why.into()));
    }
    let new = NewSession {
        metadata: chosen.metadata.unwrap_or(new.metadata),
        id: chosen.id,
        path: chosen.path,
        ..new
    };
    let beginning = visitor.begins()?;
    let (owned, token) = beginning.ended(door.engine.create_session(new).await)?;
    let mut session = form::session(door, head, &door.engine.look_at_session(&owned));
    session["session_token"] = json!(token);
    let mut response = answer::json(StatusCode::CREATED, &session);
    if let Some(said) = chosen.answer {
        // The token is told only here: the body stays.
        let said = Answer {
            body: String::new(),
            ..said
        };
        answer::dress(&mut response, &said, false);
    }
    Ok(response)
}

/// The whole body, if it is no longer than any request needs.
async fn read<B>(mut body: B, patience: Duration) -> Result<Vec<u8>, Reject>
where
    B: Body<Data = Bytes> + Unpin,
{
    const TOO_LARGE: Reject = Reject::JsonTooLarge { limit: MOST };
    if body.size_hint().lower() > MOST as u64 {
        return Err(TOO_LARGE);
    }
    let mut text = Vec::new();
    loop {
        let frame = timeout(patience, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Reject::IdleRequest)? else {
            return Ok(text);
        };
        let Ok(frame) = frame else {
            return Err(Reject::BadJson("the body ended early".into()));
        };
        if let Some(data) = frame.data_ref() {
            if text.len() + data.len() > MOST {
                return Err(TOO_LARGE);
            }
            text.extend_from_slice(data);
        }
    }
}

fn parse(text: &[u8]) -> Result<NewSession, Reject> {
    // Serde takes an array for the fields in their order.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(Reject::BadJson(
            "the body is an array, at line 1 column 1; it must be an object".into(),
        ));
    }
    let asked: Asked = serde_json::from_slice(text).map_err(|error| {
        // It may quote the client at length.
        Reject::BadJson(error.to_string().chars().take(300).collect())
    })?;
    let bad = |why: &str| Err(Reject::BadJson(why.to_owned()));
    let name = &asked.filename;
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return bad("filename is empty, too long, or has control characters");
    }
    let own = asked.metadata.iter();
    let pairs = own.map(|(key, value)| (key.as_str(), value.as_bytes()));
    let pairs = std::iter::once(("filename", name.as_bytes())).chain(pairs);
    let Ok(metadata) = UploadMetadata::of(pairs) else {
        return bad(
            "a key of metadata is empty, is \"filename\", or has more than visible ASCII without commas",
        );
    };
    if metadata.raw().len() > MOST_METADATA {
        return bad("metadata and filename are more than 8192 bytes of Upload-Metadata");
    }
    Ok(NewSession {
        metadata: Bytes::copy_from_slice(metadata.raw()),
        filename: asked.filename,
        size: asked.size,
        chunk_size: asked.chunk_size,
        file_hash: asked.file_hash,
        verify: asked.verify,
        priority: asked.priority,
        by: None,
        id: None,
        path: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse(text.as_bytes()) {
            Err(Reject::BadJson(why)) => why,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let new = parse(br#"{"filename":"a","size":5,"color":"red"}"#).unwrap();
        assert_eq!((new.size, new.chunk_size, new.file_hash), (5, None, None));
        assert_eq!((new.verify, new.priority), (true, Priority::Normal));
        assert_eq!(&new.metadata[..], b"filename YQ==");
    }

    #[test]
    fn wrong_json_is_refused_with_its_place() {
        for bad in [
            "",
            "{",
            "[]",
            r#"["a",5]"#,
            r#"["a",5,null,null,true,{},"normal"]"#,
            r#"{"filename":"a","size":5,"metadata":{"b":"1","b":"2"}}"#,
            "null",
            "{}",
            r#"{"filename":"a"}"#,
            r#"{"size":5}"#,
            r#"{"filename":5,"size":5}"#,
            r#"{"filename":"a","size":"5"}"#,
            r#"{"filename":"a","size":-1}"#,
            r#"{"filename":"a","size":1.5}"#,
            r#"{"filename":"a","size":18446744073709551616}"#,
            r#"{"filename":"a","size":1e400}"#,
            r#"{"filename":"a","size":5,"size":6}"#,
            r#"{"filename":"a","size":5,"chunk_size":-1}"#,
            r#"{"filename":"a","size":5,"file_hash":"abc"}"#,
            r#"{"filename":"a","size":5,"verify":"no"}"#,
            r#"{"filename":"a","size":5,"metadata":[]}"#,
            r#"{"filename":"a","size":5,"metadata":{"a":1}}"#,
            r#"{"filename":"a","size":5,"priority":"urgent"}"#,
            r#"{"filename":"a","size":5} x"#,
        ] {
            let why = refused(bad);
            assert!(
                why.contains("line 1 column") || why.contains("EOF"),
                "{bad}: {why}"
            );
        }
        for bad in [
            r#"{"filename":"","size":5}"#,
            r#"{"filename":"a\u0000b","size":5}"#,
            r#"{"filename":"a","size":5,"metadata":{"filename":"b"}}"#,
            r#"{"filename":"a","size":5,"metadata":{"a b":"b"}}"#,
            r#"{"filename":"a","size":5,"metadata":{"":"b"}}"#,
        ] {
            refused(bad);
        }
        let named = |len| format!(r#"{{"filename":"{}","size":5}}"#, "a".repeat(len));
        parse(named(1024).as_bytes()).unwrap();
        refused(&named(1025));
        let with = |len| {
            let value = "b".repeat(len);
            format!(r#"{{"filename":"a","size":5,"metadata":{{"k":"{value}"}}}}"#)
        };
        // `filename YQ==,k ` and four for three.
        parse(with(6129).as_bytes()).unwrap();
        refused(&with(6133));
        let deep = "[".repeat(60_000);
        refused(&deep);
    }
}
