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

#[tokio::test]
async fn of_a_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, SECRET).expect("it is written");
    let server = serve(&key).await;
    let good = signed(HS256, &claims().to_string(), SECRET);
    let post = server.tus("POST", "/files/").header("Upload-Length", 5);
    let path = post.bearing(&good).send().await.location_path();
    let by_head = |head: &str| signed(head, &claims().to_string(), SECRET);
    let by_claims = |claims: &str| signed(HS256, claims, SECRET);
    let none = |alg: &str, end: &str| {
        let head = BASE64.encode(format!(r#"{{"alg":"{alg}"}}"#));
        format!("{head}.{}.{end}", BASE64.encode(claims().to_string()))
    };
    let (_, signature) = good.rsplit_once('.').expect("a signature");
    let text = claims().to_string();
    let inner = &text[..text.len() - 1];
    let mut lies = vec![
        // No algorithm, in every spelling, with and without a signature.
        none("none", ""),
        none("None", ""),
        none("NONE", signature),
        none("nOnE", "AA"),
        none("", ""),
        // Another one than the key's.
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
        by_head(&format!(
            r#"{{"alg":"HS256","x":{}1{}}}"#,
            "[".repeat(9000),
            "]".repeat(9000)
        )),
        // Another key, a forgotten one, one that the token brings along or says where to find.
        signed(HS256, &text, OTHER),
        signed(HS256, &text, b""),
        signed(
            r#"{"alg":"HS256","kid":"../../../../dev/null"}"#,
            &text,
            b"",
        ),
        signed(r#"{"alg":"HS256","kid":"' UNION SELECT 'x"}"#, &text, b"x"),
        signed(
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#,
            &text,
            &[0; 3],
        ),
        signed(
            r#"{"alg":"HS256","jku":"http://127.0.0.1:1/"}"#,
            &text,
            OTHER,
        ),
        signed(
            r#"{"alg":"HS256","x5u":"http://127.0.0.1:1/"}"#,
            &text,
            OTHER,
        ),
        // For somebody else, by somebody else, over, not yet, for ever.
        by_claims(&with("aud", json!("downloads"))),
        by_claims(&with("aud", json!("UPLOADS"))),
        by_claims(&with("aud", json!("uploads "))),
        by_claims(&with("aud", json!(["downloads", "x"]))),
        by_claims(&with("aud", json!([]))),
        by_claims(&with("aud", json!({"uploads": true}))),
        by_claims(&with("aud", Value::Null)),
        by_claims(&with("iss", json!("https://id.example.evil"))),
        by_claims(&with("iss", Value::Null)),
        by_claims(&with("exp", json!(soon() - 3600))),
        by_claims(&with("exp", json!(0))),
        by_claims(&with("exp", json!(-1))),
        by_claims(&with("exp", json!(1e300))),
        by_claims(&with("exp", json!("9999999999"))),
        by_claims(&with("exp", Value::Null)),
        by_claims(&with("nbf", json!(soon()))),
        by_claims(&with("nbf", json!(u64::MAX))),
        // Nobody, and who cannot be.
        by_claims(&with("sub", Value::Null)),
        by_claims(&with("sub", json!(""))),
        by_claims(&with("sub", json!(["alice"]))),
        by_claims(&with("sub", json!("alice\u{0}"))),
        by_claims(&with("sub", json!("a".repeat(10_000)))),
        // A claim twice.
        by_claims(&format!(r#"{inner},"sub":"bob"}}"#)),
        by_claims(&format!(r#"{inner},"exp":99999999999}}"#)),
        by_claims(&format!(r#"{inner},"aud":"uploads"}}"#)),
        // What is no object, or goes deep.
        by_claims("[]"),
        by_claims("null"),
        by_claims(&"[".repeat(20_000)),
        by_claims(&format!("{text} x")),
        by_claims(&with("upload_quota", json!("much"))),
    ];
    // Its parts in other forms.
    let parts: Vec<&str> = good.split('.').collect();
    lies.extend([
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!("{good}.{}", parts[2]),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..42]),
        format!("{}.{}.{}", parts[0], parts[1], parts[2].to_uppercase()),
        format!("{},{good}", parts[2]),
        ".".repeat(100_000),
    ]);
    for lie in lies {
        let shown = BASE64.decode(lie.split('.').nth(1).unwrap_or_default());
        let shown = String::from_utf8_lossy(&shown.unwrap_or_default()).into_owned();
        assert_eq!(
            said(&server, &path, &lie).await,
            [401; 4],
            "{lie:.60} {shown:.200}"
        );
    }
    // And what is no lie.
    for true_one in [
        good.clone(),
        by_claims(&with("aud", json!(["x", "uploads"]))),
        by_claims(&with("exp", json!(u64::MAX))),
        by_claims(&with("nbf", json!(1))),
        by_head(r#"{"alg":"HS256","kid":"anything","jku":"http://127.0.0.1:1/"}"#),
    ] {
        assert_eq!(
            said(&server, &path, &true_one).await,
            [200, 404, 201, 400],
            "{true_one}"
        );
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
