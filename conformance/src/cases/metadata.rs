//! `Upload-Metadata`: what is taken, and how it comes back.
//!
//! A server may ignore or reject metadata, so malformed metadata need not be refused. But what it tells of an upload is a
//! header too, and has to have its form: either a malformed one is refused, or nothing malformed comes back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::means::{ensure_taken, head, located, not_so};
use crate::case::{Case, Need, Outcome, Stop, ensure, must, should};
use crate::client::Client;
use crate::reference::{Fault, Flaw};
use crate::wire::Response;

const POST: &str = "tus 1.0.0, Creation, Requests, POST";
const METADATA: &str = "tus 1.0.0, Creation, Headers, Upload-Metadata";
const NEEDS: &[Need] = &[Need::Extension("creation")];
const NAME: &str = "Upload-Metadata";

pub(super) const CASES: &[Case] = &[
    must(
        "metadata.head.included",
        POST,
        "If an upload contains additional metadata, responses to `HEAD` requests MUST include the `Upload-Metadata` header",
        Fault::Without("HEAD", 200, NAME),
        |client| {
            let post = client.post(5).field(NAME, "a aW5jbHVkZWQ=");
            let upload = client.create_by(&post)?;
            let there = |when: &str| {
                let has = head(client, &upload)?.has(NAME);
                ensure(has, format!("HEAD tells no metadata {when}"))
            };
            there("of a new upload")?;
            client.append(&upload, 0, b"hel")?;
            there("of an unfinished upload")?;
            client.append(&upload, 3, b"lo")?;
            there("of a complete upload")
        },
    )
    .needs(NEEDS),
    must(
        "metadata.head.as-specified",
        POST,
        "and its value as specified by the Client during the creation",
        Fault::Flaw(Flaw::MetadataSorted),
        |client| {
            let keys = ["zz", "m", "b", "q", "a", "c9", "X-y", "Aa", "_", "n.", "k", "d", "0"];
            let pair = |key: &str| format!("{key} {}", STANDARD.encode(key));
            let value = keys.map(pair).join(",");
            let told = told(client, &value)?;
            let text = String::from_utf8_lossy(&told);
            ensure(
                told == value.as_bytes(),
                format!("{value:?} came back as {text:?}"),
            )
        },
    )
    .needs(NEEDS),
    must(
        "metadata.pairs.several",
        METADATA,
        "The `Upload-Metadata` request and response header MUST consist of one or more comma-separated key-value pairs",
        Fault::Flaw(Flaw::MetadataOnePair),
        |client| {
            let pairs: &[(&str, &[u8])] = &[("first", b"1"), ("second", b"22"), ("third", b"333")];
            ensure_pairs(client, "first MQ==,second MjI=,third MzMz", pairs)
        },
    )
    .needs(NEEDS),
    must(
        "metadata.pairs.none",
        METADATA,
        "one or more comma-separated key-value pairs",
        Fault::Flaw(Flaw::MetadataEmptyTold),
        |client| {
            let upload = client.create(5)?;
            let answer = head(client, &upload)?;
            match answer.all(NAME)[..] {
                [] => Ok(()),
                _ => told_pairs(&answer).map(drop),
            }
        },
    )
    .needs(NEEDS),
    must(
        "metadata.pairs.space",
        METADATA,
        "The key and value MUST be separated by a space",
        Fault::Flaw(Flaw::MetadataReformed),
        |client| {
            let told = told(client, "only c2luZ2xl")?;
            let text = String::from_utf8_lossy(&told);
            let words: Vec<&str> = text.split(' ').collect();
            ensure(
                words == ["only", "c2luZ2xl"],
                format!("HEAD tells {text:?}"),
            )
        },
    )
    .needs(NEEDS),
    must(
        "metadata.key.space",
        METADATA,
        "The key MUST NOT contain spaces and commas",
        Fault::Flaw(Flaw::MetadataBlankTaken),
        |client| ensure_mended(client, &["two words dmFsdWU=", "a YQ==,two words dmFsdWU="]),
    )
    .needs(NEEDS),
    must(
        "metadata.key.empty",
        METADATA,
        "and MUST NOT be empty",
        Fault::Flaw(Flaw::MetadataKeyEmptyTaken),
        |client| ensure_mended(client, &["a YQ==,,b Yg==", ",c Yw==", "d ZA==,"]),
    )
    .needs(NEEDS),
    must(
        "metadata.key.unique",
        METADATA,
        "All keys MUST be unique",
        Fault::Flaw(Flaw::MetadataKeyTwiceTaken),
        |client| ensure_mended(client, &["twice YQ==,twice Yg==", "e,f Zg==,e Zg=="]),
    )
    .needs(NEEDS),
    must(
        "metadata.value.base64",
        METADATA,
        "the value MUST be Base64 encoded",
        Fault::Flaw(Flaw::MetadataBadBase64Taken),
        |client| {
            ensure_mended(
                client,
                &["name plain.txt", "name a===", "name %%%%", "b Yg==,name YQ==YQ=="],
            )
        },
    )
    .needs(NEEDS),
    must(
        "metadata.value.empty",
        METADATA,
        "The value MAY be empty",
        Fault::Flaw(Flaw::MetadataEmptyDropped),
        |client| ensure_pairs(client, "blank ,g Zw==", &[("blank", b""), ("g", b"g")]),
    )
    .needs(NEEDS),
    must(
        "metadata.value.left-out",
        METADATA,
        "the space, which would normally separate the key and the value, MAY be left out",
        Fault::Flaw(Flaw::MetadataEmptyRefused),
        |client| {
            ensure_pairs(client, "is_confidential", &[("is_confidential", b"")])?;
            ensure_pairs(client, "h aA==,flag", &[("h", b"h"), ("flag", b"")])
        },
    )
    .needs(NEEDS),
    must(
        "metadata.value.binary",
        METADATA,
        "metadata can contain arbitrary binary values",
        Fault::Flaw(Flaw::MetadataLossy),
        |client| {
            let all: Vec<u8> = (0..=255).collect();
            for value in [&b"\xff\xfe"[..], b"caf\xe9", b"\xed\xa0\x80", &all] {
                let header = format!("raw {}", STANDARD.encode(value));
                ensure_pairs(client, &header, &[("raw", value)])?;
            }
            Ok(())
        },
    )
    .needs(NEEDS),
    must(
        "metadata.value.text",
        POST,
        "The Client MAY supply the `Upload-Metadata` header to add additional metadata to the upload creation request",
        Fault::Flaw(Flaw::MetadataAscii),
        |client| {
            let value = "światło 🚿 ".as_bytes();
            let header = format!("filename {}", STANDARD.encode(value));
            ensure_pairs(client, &header, &[("filename", value)])
        },
    )
    .needs(NEEDS),
    should(
        "metadata.value.smuggled",
        METADATA,
        "Servers SHOULD carefully validate metadata values or sanitize them before using them as header values to avoid header smuggling",
        smuggled,
    )
    .needs(NEEDS)
    .fault(Fault::Flaw(Flaw::MetadataSmuggled)),
];

/// What HEAD tells of an upload that was created with this.
fn told(client: &Client<'_>, value: &str) -> Result<Vec<u8>, Stop> {
    let upload = client.create_by(&client.post(5).field(NAME, value))?;
    let answer = head(client, &upload)?;
    match answer.all(NAME)[..] {
        [told] => Ok(told.to_vec()),
        [] => nothing(client, value).map(|()| Vec::new()),
        ref all => Err(Stop::Broken(format!("{value:?} came back as {all:?}"))),
    }
}

/// Nothing came back of this metadata; of other metadata there may.
fn nothing(client: &Client<'_>, header: &str) -> Outcome {
    let post = client.post(5).field(NAME, "plain cGxhaW4=");
    let plain = client.create_by(&post)?;
    if head(client, &plain)?.has(NAME) {
        ensure(false, format!("nothing came back of {header:?}"))
    } else {
        not_so("HEAD tells no metadata at all")
    }
}

/// The pairs of an answer, or what is wrong with their form.
fn told_pairs(answer: &Response) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    let all = answer.all(NAME);
    let [told] = all[..] else {
        return Err(Stop::Broken(format!("{} fields {NAME}", all.len())));
    };
    let text = String::from_utf8_lossy(told);
    let broken = |what: &str| Stop::Broken(format!("HEAD tells {text:?}: {what}"));
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    for pair in text.split(',') {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        let value = STANDARD.decode(value.trim_start());
        let value = value.map_err(|_| broken("a value is not Base64"))?;
        if key.is_empty() {
            return Err(broken("a key is empty"));
        }
        if pairs.iter().any(|(other, _)| other == key) {
            return Err(broken("a key is there twice"));
        }
        pairs.push((key.to_owned(), value));
    }
    Ok(pairs)
}

/// That metadata comes back with these pairs, in any order.
fn ensure_pairs(client: &Client<'_>, header: &str, expected: &[(&str, &[u8])]) -> Outcome {
    let answer = client.send(&client.post(5).field(NAME, header))?;
    ensure_taken(&format!("{header:?}"), &answer)?;
    let upload = located(client, &answer)?;
    let answer = head(client, &upload)?;
    if !answer.has(NAME) {
        return nothing(client, header);
    }
    let pairs = told_pairs(&answer)?;
    let kept = |(key, value): &(&str, &[u8])| pairs.iter().any(|(k, v)| k == key && v == value);
    ensure(
        pairs.len() == expected.len() && expected.iter().all(kept),
        format!("{header:?} came back as {pairs:x?}"),
    )
}

/// That malformed metadata is refused, or does not come back malformed.
fn ensure_mended(client: &Client<'_>, headers: &[&str]) -> Outcome {
    for header in headers {
        let answer = client.send(&client.post(5).field(NAME, header))?;
        if (400..500).contains(&answer.status) {
            continue;
        }
        ensure_taken(&format!("{header:?}"), &answer)?;
        let upload = located(client, &answer)?;
        let answer = head(client, &upload)?;
        if answer.has(NAME) {
            told_pairs(&answer)?;
        }
    }
    Ok(())
}

/// Values with line ends, under the names that servers make headers of.
fn smuggled(client: &Client<'_>) -> Outcome {
    let evil = STANDARD.encode("a\r\nX-Smuggled: 1\r\n\r\nb");
    let plain = STANDARD.encode("a\nX-Smuggled: 1");
    let value = format!(
        "filename {evil},name {evil},filetype {evil},type {plain},contentType {plain},content-type {plain}"
    );
    let post = client.post(5).field(NAME, value);
    let created = client.send(&post)?;
    if (400..500).contains(&created.status) {
        return Ok(());
    }
    let clean = |what: &str, answer: &Response| {
        let foul =
            |(_, value): &(String, Vec<u8>)| value.iter().any(|b| matches!(b, b'\r' | b'\n'));
        ensure(
            !answer.has("X-Smuggled") && !answer.fields.iter().any(foul),
            format!("a line of metadata is a field of the answer to {what}"),
        )
    };
    clean("POST", &created)?;
    let upload = located(client, &created)?;
    clean("HEAD", &client.send(&client.head(&upload))?)?;
    client.append(&upload, 0, b"hello")?;
    if client.server.downloads {
        clean("GET", &client.send(&client.request("GET", &upload))?)?;
    }
    Ok(())
}
