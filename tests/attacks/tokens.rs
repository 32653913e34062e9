//! Signed tokens that lie: each is nobody's, on every door, and the answer does not say why.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use highwater::config::AuthMode;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::identity::{As, soon};
use crate::support::{Server, start_with};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const OTHER: &[u8] = b"another secret of more than that many bytes";

/// The two parts as they are written here, signed by HMAC-SHA256 whatever they say.
fn signed(head: &str, claims: &str, secret: &[u8]) -> String {
    let text = format!("{}.{}", BASE64.encode(head), BASE64.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn claims() -> Value {
    json!({"sub": "alice", "exp": soon(), "aud": "uploads", "iss": "https://id.example"})
}

/// The claims with one of another value; `null`: without it.
fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    } else {
        claims[name] = value;
    }
    claims.to_string()
}

async fn serve(key: &Path) -> Server {
    let key = key.to_owned();
    start_with(|config| {
        config.auth.auth = AuthMode::Jwt;
        config.auth.auth_file = Some(key);
        config.auth.auth_audience = Some("uploads".into());
        config.auth.auth_issuer = Some("https://id.example".into());
    })
    .await
}

/// What a door says to whoever shows this: at an upload that there is, at one that there is not, at a new one.
async fn said(server: &Server, path: &str, token: &str) -> [u16; 4] {
    let asks = [
        server.tus("HEAD", path),
        server.tus("DELETE", "/files/never"),
        server.tus("POST", "/files/").header("Upload-Length", 5),
        server.request("POST", "/uploads/initialize").body("{}"),
    ];
    let mut all = [0; 4];
    let mut words = None;
    for (ask, status) in asks.into_iter().zip(&mut all) {
        let reply = ask.bearing(token).send().await;
        *status = reply.status;
        if reply.status == 401 && !reply.body.is_empty() {
            let told = reply.json()["detail"].to_string();
            assert_eq!(words.get_or_insert(told.clone()), &told);
            assert_eq!(told, missing(server).await, "no word of what is wrong");
        }
    }
    all
}

/// What whoever shows nothing is told.
async fn missing(server: &Server) -> String {
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    post.send().await.json()["detail"].to_string()
}

fn by_head(head: &str) -> String {
    signed(head, &claims().to_string(), SECRET)
}

fn by_claims(claims: &str) -> String {
    signed(HS256, claims, SECRET)
}

/// No algorithm, another one than the key's, or none to be sure of.
fn algorithms() -> Vec<String> {
    let none = |alg: &str, end: &str| {
        let head = BASE64.encode(format!(r#"{{"alg":"{alg}"}}"#));
        format!("{head}.{}.{end}", BASE64.encode(claims().to_string()))
    };
    let good = by_claims(&claims().to_string());
    let (_, signature) = good.rsplit_once('.').expect("a signature");
    let (open, close) = ("[".repeat(9000), "]".repeat(9000));
    vec![
        none("none", ""),
        none("None", ""),
        none("NONE", signature),
        none("nOnE", "AA"),
        none("", ""),
        by_head(r#"{"alg":"HS384"}"#),
        by_head(r#"{"alg":"hs256"}"#),
        by_head(r#"{"alg":"RS256"}"#),
        by_head(r#"{"alg":["HS256"]}"#),
        by_head(r#"{"typ":"JWT"}"#),
        by_head(r#"{"alg":"none","alg":"HS256"}"#),
        by_head(r#"{"alg":"HS256","alg":"none"}"#),
        by_head(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#),
        by_head(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#),
        by_head("{}"),
        by_head(""),
        by_head(&format!(r#"{{"alg":"HS256","x":{open}1{close}}}"#)),
    ]
}

/// Another key, none, one that the token brings along or says where to find.
fn keys() -> Vec<String> {
    let by = |head: &str, secret: &[u8]| signed(head, &claims().to_string(), secret);
    let file = r#"{"alg":"HS256","kid":"../../../../dev/null"}"#;
    let brought = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#;
    let elsewhere = |name: &str| format!(r#"{{"alg":"HS256","{name}":"http://127.0.0.1:1/"}}"#);
    vec![
        by(HS256, OTHER),
        by(HS256, b""),
        by(file, b""),
        by(r#"{"alg":"HS256","kid":"' UNION SELECT 'x"}"#, b"x"),
        by(brought, &[0; 3]),
        by(&elsewhere("jku"), OTHER),
        by(&elsewhere("x5u"), OTHER),
    ]
}

/// For somebody else, by somebody else, over, not yet, without an end; nobody, and who cannot be.
fn values() -> Vec<String> {
    let all = [
        ("aud", json!("downloads")),
        ("aud", json!("UPLOADS")),
        ("aud", json!("uploads ")),
        ("aud", json!(["downloads", "x"])),
        ("aud", json!([])),
        ("aud", json!({"uploads": true})),
        ("aud", Value::Null),
        ("iss", json!("https://id.example.evil")),
        ("iss", Value::Null),
        ("exp", json!(soon() - 3600)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("exp", json!("9999999999")),
        ("exp", Value::Null),
        ("nbf", json!(soon())),
        ("nbf", json!(u64::MAX)),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!(["alice"])),
        ("sub", json!("alice\u{0}")),
        ("sub", json!("a".repeat(10_000))),
        ("upload_quota", json!("much")),
    ];
    let lie = |(name, value)| by_claims(&with(name, value));
    all.into_iter().map(lie).collect()
}

/// A claim twice, no object, a deep one; the parts of a good one in other forms.
fn forms() -> Vec<String> {
    let text = claims().to_string();
    let inner = &text[..text.len() - 1];
    let good = by_claims(&text);
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else {
        panic!("{good}")
    };
    vec![
        by_claims(&format!(r#"{inner},"sub":"bob"}}"#)),
        by_claims(&format!(r#"{inner},"exp":99999999999}}"#)),
        by_claims(&format!(r#"{inner},"aud":"uploads"}}"#)),
        by_claims("[]"),
        by_claims("null"),
        by_claims(&"[".repeat(20_000)),
        by_claims(&format!("{text} x")),
        format!("{head}.{body}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{head}=.{body}.{signature}"),
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.{}", &signature[..42]),
        format!("{head}.{body}.{}", signature.to_uppercase()),
        format!("{signature},{good}"),
        ".".repeat(100_000),
    ]
}

#[tokio::test]
async fn of_a_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, SECRET).expect("it is written");
    let server = serve(&key).await;
    let good = by_claims(&claims().to_string());
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    let path = post.bearing(&good).send().await.location_path();
    for lie in [algorithms(), keys(), values(), forms()].concat() {
        let shown = BASE64.decode(lie.split('.').nth(1).unwrap_or_default());
        let shown = String::from_utf8_lossy(&shown.unwrap_or_default()).into_owned();
        let told = said(&server, &path, &lie).await;
        assert_eq!(told, [401; 4], "{lie:.60} {shown:.200}");
    }
    // And what is no lie.
    for honest in [
        good,
        by_claims(&with("aud", json!(["x", "uploads"]))),
        by_claims(&with("exp", json!(u64::MAX))),
        by_claims(&with("nbf", json!(1))),
        by_head(r#"{"alg":"HS256","kid":"anything","jku":"http://127.0.0.1:1/"}"#),
    ] {
        let told = said(&server, &path, &honest).await;
        assert_eq!(told, [200, 404, 201, 400], "{honest}");
    }
}

/// A public key is known to everybody: taken for a secret it would sign for anybody.
#[tokio::test]
async fn of_a_public_key() {
    let dir = tempfile::tempdir().expect("a directory");
    for (kind, option) in [
        ("RSA", "rsa_keygen_bits:2048"),
        ("EC", "ec_paramgen_curve:P-256"),
    ] {
        let openssl = |args: &[&str]| {
            let made = Command::new("openssl")
                .args(args)
                .current_dir(&dir)
                .output();
            let made = made.expect("openssl, of the Debian package of that name");
            assert!(made.status.success(), "{made:?}");
        };
        let private = format!("{kind}.pem");
        openssl(&[
            "genpkey",
            "-algorithm",
            kind,
            "-pkeyopt",
            option,
            "-out",
            &private,
        ]);
        openssl(&["pkey", "-in", &private, "-pubout", "-out", "public.pem"]);
        openssl(&[
            "pkey",
            "-in",
            &private,
            "-pubout",
            "-outform",
            "DER",
            "-out",
            "public.der",
        ]);
        let pem = std::fs::read(dir.path().join("public.pem")).expect("a key");
        let der = std::fs::read(dir.path().join("public.der")).expect("a key");
        let server = serve(&dir.path().join("public.pem")).await;
        let trimmed = pem.trim_ascii_end();
        let lines: Vec<u8> = String::from_utf8_lossy(&pem)
            .lines()
            .filter(|line| !line.starts_with('-'))
            .flat_map(str::bytes)
            .collect();
        for secret in [&pem[..], trimmed, &der, &lines] {
            for head in [
                HS256,
                r#"{"alg":"RS256"}"#,
                r#"{"alg":"ES256"}"#,
                r#"{"alg":"none"}"#,
            ] {
                let lie = signed(head, &claims().to_string(), secret);
                assert_eq!(
                    said(&server, "/files/never", &lie).await,
                    [401; 4],
                    "{kind} {head}"
                );
            }
        }
    }
}

/// A set of keys: a token is held against the one that it names, and a name that is no key's is nobody's.
#[tokio::test]
async fn of_a_set_of_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys.json");
    let key =
        |id: &str, secret: &[u8]| json!({"kty": "oct", "kid": id, "k": BASE64.encode(secret)});
    let set = json!({ "keys": [key("one", SECRET), key("two", OTHER)] });
    std::fs::write(&file, set.to_string()).expect("it is written");
    let server = serve(&file).await;
    let text = claims().to_string();
    for (kid, secret, good) in [
        ("one", SECRET, true),
        ("two", OTHER, true),
        ("one", OTHER, false),
        ("two", SECRET, false),
        ("three", SECRET, false),
        ("", SECRET, false),
        ("ONE", SECRET, false),
        ("one/../two", OTHER, false),
        ("file:///dev/null", b"", false),
    ] {
        let token = signed(
            &json!({"alg": "HS256", "kid": kid}).to_string(),
            &text,
            secret,
        );
        let told = said(&server, "/files/never", &token).await;
        let wanted = if good { [404, 404, 201, 400] } else { [401; 4] };
        assert_eq!(told, wanted, "{kid}");
    }
}
