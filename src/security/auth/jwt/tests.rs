use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn keys(text: &[u8]) -> Jwt {
    Jwt::of(text, &Expect::default()).unwrap()
}

fn token(claims: &Value) -> String {
    signed(&Header::new(Algorithm::HS256), claims, SECRET)
}

fn signed(head: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(head, claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn in_seconds(seconds: i64) -> u64 {
    get_current_timestamp().saturating_add_signed(seconds)
}

fn good() -> Value {
    json!({"sub": "alice", "exp": in_seconds(600)})
}

#[test]
fn a_good_token_names_its_user_and_limits() {
    let keys = keys(SECRET);
    let mut claims = good();
    assert_eq!(keys.user(&token(&claims)).unwrap().id.as_str(), "alice");
    claims["upload_max_size"] = json!(5);
    claims["upload_types"] = json!(["image/*"]);
    for _ in 0..2 {
        let user = keys.user(&token(&claims)).unwrap();
        assert_eq!((user.limits.max_size, user.limits.quota), (Some(5), None));
        assert_eq!(user.limits.types.as_deref(), Some(&["image/*".into()][..]));
    }
    assert_eq!(keys.remembered().len(), 2);
}

#[test]
fn a_date_may_have_a_fraction() {
    let keys = keys(SECRET);
    let with = |after: f64| {
        let now = Duration::from_secs(get_current_timestamp()).as_secs_f64();
        token(&json!({"sub": "alice", "exp": now + after}))
    };
    assert!(keys.user(&with(100.5)).is_ok());
    for bad in [-100.5, -1e12, 1e300] {
        assert_eq!(keys.user(&with(bad)), Err(Unauthorized), "{bad}");
    }
}

#[test]
fn a_file_of_several_keys() {
    let rsa = include_str!("rsa-public.pem");
    // Source: RFC 8410, 10.1.
    let ed = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let both = keys(format!("# two keys\n{rsa}\n# the other\n{ed}").as_bytes());
    let algorithms: Vec<_> = both.keys.iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, [Algorithm::RS256, Algorithm::EdDSA]);
    let cut = &ed[..60];
    assert!(Jwt::of(format!("{rsa}{cut}").as_bytes(), &Expect::default()).is_err());
}

#[test]
fn what_is_not_right_is_refused() {
    let keys = keys(SECRET);
    let with = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        token(&claims)
    };
    let mut tokens = vec![
        with("exp", json!(in_seconds(-60))),
        with("nbf", json!(in_seconds(60))),
        with("exp", json!("soon")),
        with("sub", json!("")),
        with("sub", json!("a\nb")),
        with("sub", json!(7)),
        with("aud", json!("somebody-else")),
        with("upload_quota", json!(-1)),
        token(&json!({"sub": "alice"})),
        token(&json!({"exp": in_seconds(60)})),
        signed(
            &Header::new(Algorithm::HS256),
            &good(),
            b"another-secret-of-32-bytes-or-so",
        ),
        signed(&Header::new(Algorithm::HS512), &good(), SECRET),
    ];
    let critical = Header {
        crit: Some(vec!["b64".into()]),
        ..Header::new(Algorithm::HS256)
    };
    tokens.push(signed(&critical, &good(), SECRET));
    let right = token(&good());
    let parts: Vec<_> = right.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"; // {"alg":"none","typ":"JWT"}
    tokens.push(format!("{none}.{}.", parts[1]));
    tokens.push(format!("{none}.{}.{}", parts[1], parts[2]));
    tokens.push(format!("{}.{}.", parts[0], parts[1]));
    tokens.push(format!("{}..{}", parts[0], parts[2]));
    tokens.push("..".into());
    for token in tokens {
        assert_eq!(keys.user(&token), Err(Unauthorized), "{token}");
    }
    assert!(keys.user(&right).is_ok());
}

#[test]
fn audience_and_issuer_are_asked_for() {
    let expect = Expect {
        audience: Some("uploads".into()),
        issuer: Some("https://id.example".into()),
    };
    let keys = Jwt::of(SECRET, &expect).unwrap();
    let told = |aud: Value, iss: Value| {
        let mut claims = good();
        claims["aud"] = aud;
        claims["iss"] = iss;
        keys.user(&token(&claims)).is_ok()
    };
    assert!(told(json!("uploads"), json!("https://id.example")));
    assert!(told(json!(["x", "uploads"]), json!("https://id.example")));
    assert!(!told(json!("x"), json!("https://id.example")));
    assert!(!told(json!("uploads"), json!("https://other.example")));
    assert!(keys.user(&token(&good())).is_err());
}

#[test]
fn a_remembered_token_ends_all_the_same() {
    let keys = keys(SECRET);
    let over = token(&json!({"sub": "alice", "exp": in_seconds(-60)}));
    let user = keys.user(&token(&good())).unwrap();
    let good = Good {
        user,
        expires: in_seconds(-60),
    };
    keys.remembered().insert(Sum::of(over.as_bytes()).0, good);
    assert_eq!(keys.user(&over), Err(Unauthorized));
}

#[test]
fn a_set_of_keys() {
    let secret =
        |byte: u8| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, [byte; 32]);
    let oct = |id: &str, byte: u8| json!({"kty": "oct", "kid": id, "k": secret(byte)});
    let mut other = oct("other", 3);
    other["use"] = json!("enc");
    let mut long = oct("long", 4);
    long["alg"] = json!("HS512");
    let set = json!({"keys": [oct("one", 1), oct("two", 2), other, long, {"kty": "new", "x": 1}]});
    let keys = keys(set.to_string().as_bytes());
    let by = |id: Option<&str>, byte: u8| {
        let head = Header {
            kid: id.map(str::to_owned),
            ..Header::new(Algorithm::HS256)
        };
        keys.user(&signed(&head, &good(), &[byte; 32])).is_ok()
    };
    assert!(by(Some("one"), 1) && by(Some("two"), 2) && by(None, 1) && by(None, 2));
    assert!(!by(Some("one"), 2) && !by(Some("three"), 1) && !by(None, 3) && !by(None, 4));
    for weak in ["", "YWJj"] {
        let weak = json!({"kty": "oct", "k": weak});
        assert!(Jwt::of(weak.to_string().as_bytes(), &Expect::default()).is_err());
    }
}

#[test]
fn the_algorithm_is_the_keys() {
    // A public key is known to everybody: taken as a secret it would sign for anybody.
    let pem = include_bytes!("rsa-public.pem");
    let keys = keys(pem);
    let forged = signed(&Header::new(Algorithm::HS256), &good(), pem);
    assert_eq!(keys.user(&forged), Err(Unauthorized));
    // Nor in a form in which it is not known for one.
    let text = std::str::from_utf8(pem).unwrap();
    let inner: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let bom = format!("\u{feff}{text}");
    let bag = format!("Bag Attributes\n    friendlyName: x\n{text}");
    for known in [&bom, &bag] {
        let keys = Jwt::of(known.as_bytes(), &Expect::default());
        assert!(
            keys.is_err()
                || keys
                    .unwrap()
                    .keys
                    .iter()
                    .all(|key| key.algorithm != Algorithm::HS256)
        );
    }
    let jwks = format!("[{{\"kty\":\"RSA\",\"n\":\"{inner}\",\"e\":\"AQAB\"}}]");
    for known in [&inner, &jwks, &format!("ssh-ed25519 {inner}")] {
        assert!(
            Jwt::of(known.as_bytes(), &Expect::default()).is_err(),
            "{known}"
        );
    }
    let der: Vec<u8> = (0..=255).collect();
    assert!(Jwt::of(&der, &Expect::default()).is_err());
}

#[test]
fn files_that_are_not_keys() {
    for (text, why) in [
        (&b"short"[..], "32 bytes"),
        (b"", "32 bytes"),
        (b"{}", "key"),
        (b"{\"keys\":[]}", "no key"),
        (b"{\"keys\":", "JWK"),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "private",
        ),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "no public key",
        ),
    ] {
        let told = Jwt::of(text, &Expect::default()).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
}
