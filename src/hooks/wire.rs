//! What is sent and what comes back: tusd's JSON, with fields of our own that its receivers do not look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Cause, Event, Fault};
use crate::blob::ChosenPath;
use crate::protocol::metadata::UploadMetadata;
use crate::upload::{Kind, UploadId, UserId};

/// An upload, as hooks are told of it.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    /// Not known yet before it is created.
    pub id: Option<UploadId>,
    /// In bytes; `None`: it is declared later.
    pub length: Option<u64>,
    /// Bytes that are there.
    pub offset: u64,
    /// `Upload-Metadata` as received.
    pub metadata: Option<bytes::Bytes>,
    /// `None`: an upload of its own.
    pub kind: Option<Kind>,
    /// Of a final.
    pub parts: Vec<UploadId>,
    /// Where the bytes lie.
    pub storage: Storage,
    /// Who created it.
    pub owner: Option<UserId>,
    /// Why it failed.
    pub failure: Option<&'static str>,
}

/// Where an upload's bytes lie.
#[derive(Debug, Clone, Default)]
pub enum Storage {
    /// Nowhere yet.
    #[default]
    None,
    /// In a file.
    File(String),
    /// In ranges of files: path, first byte, how many.
    Segments(Vec<(String, u64, u64)>),
}

impl Storage {
    fn json(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::File(path) => json!({ "Type": "filestore", "Path": path }),
            Self::Segments(list) => {
                let segment = |(path, start, length): &(String, u64, u64)| json!({ "Path": path, "Start": start, "Length": length });
                let list: Vec<Value> = list.iter().map(segment).collect();
                json!({ "Type": "segments", "Segments": list })
            }
        }
    }
}

impl Upload {
    /// What the client said of it, as text.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let raw = self.metadata.as_deref().unwrap_or_default();
        UploadMetadata::parse(raw)
            .iter()
            .flat_map(UploadMetadata::pairs)
            .map(|(key, value)| (key.to_owned(), String::from_utf8_lossy(&value).into_owned()))
            .collect()
    }

    fn json(&self) -> Value {
        let metadata = self.metadata();
        let is_final = self.kind == Some(Kind::Final) && !self.parts.is_empty();
        let parts = is_final.then(|| self.parts.iter().map(UploadId::as_str).collect::<Vec<_>>());
        let mut value = json!({
            "ID": self.id.as_ref().map_or("", UploadId::as_str),
            "Size": self.length.unwrap_or(0),
            "SizeIsDeferred": self.length.is_none() && !is_final,
            "Offset": self.offset,
            "MetaData": metadata,
            "IsPartial": self.kind == Some(Kind::Partial),
            "IsFinal": is_final,
            "PartialUploads": parts,
            "Storage": self.storage.json(),
        });
        if let Some(owner) = &self.owner {
            value["Owner"] = owner.as_str().into();
        }
        if let Some(failure) = self.failure {
            value["Failure"] = failure.into();
        }
        value
    }
}

/// What a receiver is told, as it goes out; it can lie in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Of what.
    pub event: Event,
    /// The same each time it is told again.
    pub id: String,
    /// Rises from event to event of an upload, in the order in which they go out; 0: it did not go out yet.
    pub sequence: u64,
    /// The upload's id, or empty.
    pub upload: String,
    /// Its length, or 0.
    pub size: u64,
    /// Its offset.
    pub offset: u64,
    /// Headers of the client's request.
    pub forward: Vec<(String, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

impl Call {
    pub(super) fn new(
        event: Event,
        upload: &Upload,
        cause: Option<&Arc<Cause>>,
        forwarded: &[String],
    ) -> Self {
        let id = uuid::Uuid::new_v4().to_string();
        let body = json!({
            "Type": event.name(),
            "Event": {
                "Upload": upload.json(),
                "HTTPRequest": Cause::json(cause.map(|cause| &**cause)),
            },
            "EventID": id,
        });
        let forward = |name: &String| {
            let values = cause.iter().flat_map(|cause| cause.header(name));
            let pairs = values.map(|value| (name.clone(), value.into_owned()));
            pairs.collect::<Vec<_>>()
        };
        Self {
            event,
            id,
            sequence: 0,
            upload: upload
                .id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            size: upload.length.unwrap_or(0),
            offset: upload.offset,
            forward: forwarded.iter().flat_map(forward).collect(),
            body: body.to_string().into_bytes(),
        }
    }

    /// Gives it its place among its upload's, as it goes out for the first time; a hook is told of that in its JSON.
    pub fn number(&mut self, sequence: u64) {
        self.sequence = sequence;
        if self.event.is_hooks() {
            // An object, and not an empty one.
            let mut body = format!("{{\"Sequence\":{sequence},").into_bytes();
            body.extend(self.body.iter().skip(1));
            self.body = body;
        }
    }
}

/// What a hook wants to stand in the answer to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Another status.
    pub status: Option<u16>,
    /// Another body, where it is not empty.
    pub body: String,
    /// More headers; they can stand in an answer.
    pub headers: Vec<(String, String)>,
}

/// What the answer to a client says by itself, and no hook changes: framing, and what the protocol promises.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "location",
    "tus-resumable",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upload-length",
    "upload-offset",
];

impl Answer {
    /// Puts another one over this.
    pub fn merge(&mut self, other: Self) {
        self.status = other.status.or(self.status);
        if !other.body.is_empty() {
            self.body = other.body;
        }
        let named = |name: &str| {
            let mut others = other.headers.iter();
            others.any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        self.headers.retain(|(name, _)| !named(name));
        self.headers.extend(other.headers);
    }

    fn parse(value: &Value) -> Result<Self, Fault> {
        let fields = object(value, "HTTPResponse")?;
        let mut answer = Self::default();
        match field(fields, "StatusCode") {
            None => {}
            Some(Value::Number(status)) if status.as_u64() == Some(0) => {}
            Some(status) => {
                let status = status
                    .as_u64()
                    .filter(|status| (200..=599).contains(status));
                let status = status.and_then(|status| u16::try_from(status).ok());
                let wrong = || Fault::of("HTTPResponse.StatusCode is no status from 200 to 599");
                answer.status = Some(status.ok_or_else(wrong)?);
            }
        }
        answer.body = text(fields, "Body")?;
        if let Some(headers) = field(fields, "Header") {
            for (name, value) in texts(headers, "HTTPResponse.Header")? {
                let good =
                    name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(&value).is_ok();
                if !good {
                    return Err(Fault(format!("{name:?} is no header that can be sent")));
                }
                if !OURS.contains(&&*name.to_ascii_lowercase()) {
                    answer.headers.push((name, value));
                }
            }
        }
        Ok(answer)
    }
}

/// What a hook says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// For the answer to the client.
    pub answer: Answer,
    /// No such upload is to be.
    pub reject_upload: bool,
    /// The upload is not to be terminated.
    pub reject_termination: bool,
    /// The request is refused.
    pub reject_access: bool,
    /// The upload is to end.
    pub stop_upload: bool,
    /// What the new upload is called.
    pub id: Option<UploadId>,
    /// The new upload's metadata, as `Upload-Metadata`.
    pub metadata: Option<Vec<u8>>,
    /// Where the new upload's finished file is to lie.
    pub path: Option<ChosenPath>,
}

impl Reply {
    /// From JSON as tusd reads it: keys without regard to case, `null` as if it were not there, others passed over.
    ///
    /// # Errors
    /// For what is something else, and for a name that no upload can have.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Fault(format!("the reply is no JSON: {error}")))?;
        let fields = object(&value, "the reply")?;
        let mut reply = Self {
            reject_upload: flag(fields, "RejectUpload")?,
            reject_termination: flag(fields, "RejectTermination")?,
            reject_access: flag(fields, "RejectAccess")?,
            stop_upload: flag(fields, "StopUpload")?,
            ..Self::default()
        };
        if let Some(answer) = field(fields, "HTTPResponse") {
            reply.answer = Answer::parse(answer)?;
        }
        if let Some(changes) = field(fields, "ChangeFileInfo") {
            reply.changes(object(changes, "ChangeFileInfo")?)?;
        }
        Ok(reply)
    }

    fn changes(&mut self, changes: &Map<String, Value>) -> Result<(), Fault> {
        let id = text(changes, "ID")?;
        if !id.is_empty() {
            let wrong = |_| {
                Fault(format!(
                    "ChangeFileInfo.ID: {id:?} is no name for an upload"
                ))
            };
            self.id = Some(UploadId::chosen(&id).map_err(wrong)?);
        }
        if let Some(metadata) = field(changes, "MetaData") {
            let pairs = texts(metadata, "ChangeFileInfo.MetaData")?;
            let pairs = pairs.iter().map(|(key, value)| (&**key, value.as_bytes()));
            let wrong = |_| Fault::of("ChangeFileInfo.MetaData has a key that cannot be one");
            let metadata = UploadMetadata::of(pairs).map_err(wrong)?;
            self.metadata = Some(metadata.raw().to_vec());
        }
        if let Some(storage) = field(changes, "Storage") {
            let storage = object(storage, "ChangeFileInfo.Storage")?;
            if field(storage, "Path").is_some() {
                let path = text(storage, "Path")?;
                let wrong = |why| Fault(format!("ChangeFileInfo.Storage.Path: {path:?}: {why}"));
                // An empty one is none, as for tusd.
                if !path.is_empty() {
                    self.path = Some(path.parse().map_err(wrong)?);
                }
            }
        }
        Ok(())
    }

    /// Puts another one over this; whether it refuses, so that nobody else need be asked.
    pub fn add(&mut self, other: Self) -> bool {
        self.answer.merge(other.answer);
        self.reject_upload |= other.reject_upload;
        self.reject_termination |= other.reject_termination;
        self.reject_access |= other.reject_access;
        self.stop_upload |= other.stop_upload;
        self.id = other.id.or_else(|| self.id.take());
        self.metadata = other.metadata.or_else(|| self.metadata.take());
        self.path = other.path.or_else(|| self.path.take());
        self.refuses()
    }

    /// Whether it refuses anything.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.reject_upload || self.reject_termination || self.reject_access || self.stop_upload
    }
}

/// Go takes keys without regard to case, and of several the last.
fn field<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let same = |(key, _): &(&String, &Value)| key.eq_ignore_ascii_case(name);
    let found = fields
        .iter()
        .filter(same)
        .map(|(_, value)| value)
        .next_back();
    found.filter(|value| !value.is_null())
}

fn wrong(what: &str, is: &str) -> Fault {
    Fault(format!("{what} is not {is}"))
}

fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Map<String, Value>, Fault> {
    value.as_object().ok_or_else(|| wrong(what, "an object"))
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, Fault> {
    let Some(value) = field(fields, name) else {
        return Ok(false);
    };
    value.as_bool().ok_or_else(|| wrong(name, "true or false"))
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, Fault> {
    let Some(value) = field(fields, name) else {
        return Ok(String::new());
    };
    let text = value.as_str().ok_or_else(|| wrong(name, "a text"))?;
    Ok(text.to_owned())
}

fn texts(value: &Value, what: &str) -> Result<Vec<(String, String)>, Fault> {
    let pairs = object(value, what)?.iter().map(|(key, value)| match value {
        Value::Null => Ok((key.clone(), String::new())),
        Value::String(text) => Ok((key.clone(), text.clone())),
        _ => Err(wrong(what, "an object of texts")),
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reply, String> {
        Reply::parse(text.as_bytes()).map_err(|fault| fault.0)
    }

    #[test]
    fn replies_as_tusds_receivers_write_them() {
        let reply = parse(
            r#"{"HTTPResponse":{"StatusCode":400,"Body":"no","Header":{"X-A":"b","Upload-Offset":"9"},"Headers":{"X":"y"}},
               "rejectupload":true,"ChangeFileInfo":{"ID":"prefix-1/a","MetaData":{"filename":"x"},"Storage":null}}"#,
        )
        .unwrap();
        assert!(reply.reject_upload && !reply.stop_upload);
        assert_eq!(reply.answer.status, Some(400));
        assert_eq!(reply.answer.headers, [("X-A".into(), "b".into())]);
        assert_eq!(reply.id, Some("prefix-1/a".parse().unwrap()));
        assert_eq!(reply.metadata.as_deref(), Some(&b"filename eA=="[..]));
        for nothing in [
            "",
            " \n",
            "{}",
            r#"{"HTTPResponse":null,"ChangeFileInfo":{"ID":""}}"#,
        ] {
            assert_eq!(parse(nothing), Ok(Reply::default()), "{nothing}");
        }
        let placed = r#"{"ChangeFileInfo":{"Storage":{"path":"./a/b","Bucket":"x"}}}"#;
        assert_eq!(parse(placed).unwrap().path, "a/b".parse().ok());
        let unplaced = parse(r#"{"ChangeFileInfo":{"Storage":{"Path":""}}}"#);
        assert_eq!(unplaced, Ok(Reply::default()));
        let empty = parse(r#"{"ChangeFileInfo":{"MetaData":{}}}"#).unwrap();
        assert_eq!(empty.metadata.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn lies_are_refused() {
        for bad in [
            "<html>",
            "[]",
            "7",
            r#"{"RejectUpload":"yes"}"#,
            r#"{"HTTPResponse":{"StatusCode":101}}"#,
            r#"{"HTTPResponse":{"StatusCode":"200"}}"#,
            r#"{"HTTPResponse":{"Header":{"X":"a\r\nY: b"}}}"#,
            r#"{"HTTPResponse":{"Header":{"bad name":"a"}}}"#,
            r#"{"HTTPResponse":{"Header":{"X":["a"]}}}"#,
            r#"{"ChangeFileInfo":{"ID":"../../etc/passwd"}}"#,
            r#"{"ChangeFileInfo":{"ID":"/etc/passwd"}}"#,
            r#"{"ChangeFileInfo":{"ID":"a//b"}}"#,
            r#"{"ChangeFileInfo":{"ID":"a\u0000"}}"#,
            r#"{"ChangeFileInfo":{"ID":7}}"#,
            r#"{"ChangeFileInfo":{"ID":"active"}}"#,
            r#"{"ChangeFileInfo":{"ID":"metrics"}}"#,
            r#"{"ChangeFileInfo":{"ID":"storage"}}"#,
            r#"{"ChangeFileInfo":{"ID":"x/cancel"}}"#,
            r#"{"ChangeFileInfo":{"MetaData":{"a b":"c"}}}"#,
            r#"{"ChangeFileInfo":{"Storage":{"Path":"../x"}}}"#,
            r#"{"ChangeFileInfo":{"Storage":{"Path":7}}}"#,
            r#"{"ChangeFileInfo":{"Storage":"x"}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_hooks_make_one_reply() {
        let mut all =
            parse(r#"{"HTTPResponse":{"Header":{"A":"1","B":"1"}},"ChangeFileInfo":{"ID":"x"}}"#)
                .unwrap();
        let other = r#"{"HTTPResponse":{"StatusCode":403,"Header":{"b":"2"}},"RejectUpload":true}"#;
        assert!(all.add(parse(other).unwrap()));
        let headers = [
            ("A".to_owned(), "1".to_owned()),
            ("b".to_owned(), "2".to_owned()),
        ];
        assert_eq!(all.answer.headers, headers);
        assert_eq!((all.answer.status, all.id.is_some()), (Some(403), true));
    }
}
