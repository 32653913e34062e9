//! `--auth jwt`: signed tokens (RFC 7519). The algorithm is the key's and never the token's: HS256 for a secret, RS256, ES256
//! or `EdDSA` for a public key.
//!
//! Claims: `sub` is the user, `exp` must be there, `nbf` holds; `aud` and `iss` are as the options say, and a token that names
//! an audience is refused where the server has none. Optional: `upload_max_size` and `upload_quota` in bytes, `upload_types`
//! as a list of media types, `upload_max_open`, `upload_max_per_hour`, `upload_request_rate` and `upload_byte_rate`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header, get_current_timestamp,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Unauthorized;
use crate::protocol::sha256::Sum;
use crate::security::rate::SLOWEST;
use crate::security::user::{Limits, User};
use crate::upload::UserId;

/// Bytes of the shortest secret: as many as the hash has. Source: RFC 7518, 3.2.
const SHORTEST: usize = 32;
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 30;
/// Tokens that were found good and are not worked out again with each chunk.
const REMEMBERED: usize = 4096;

/// What a token must say beside its user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// One of its `aud`.
    pub audience: Option<String>,
    /// Its `iss`.
    pub issuer: Option<String>,
}

/// Keys, and what tokens must say.
#[derive(Debug)]
pub struct Jwt {
    keys: Vec<Key>,
    good: Mutex<HashMap<[u8; 32], Good>>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    verifies: DecodingKey,
    rules: Validation,
}

/// A token that was found good, until when.
#[derive(Debug)]
struct Good {
    user: Arc<User>,
    expires: u64,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: UserId,
    #[serde(deserialize_with = "numeric_date")]
    exp: u64,
    upload_max_size: Option<u64>,
    upload_quota: Option<u64>,
    upload_types: Option<Vec<String>>,
    upload_max_open: Option<u64>,
    upload_max_per_hour: Option<u64>,
    upload_request_rate: Option<u64>,
    upload_byte_rate: Option<u64>,
}

impl Jwt {
    /// Whether this looks like a signed token: three parts. A session's token has no dot.
    pub(super) fn is_one(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// # Errors
    /// `Unauthorized`, whatever is wrong with it.
    pub(super) fn user(&self, token: &str) -> Result<Arc<User>, Unauthorized> {
        let sum = Sum::of(token.as_bytes()).0;
        let now = get_current_timestamp();
        if let Some(good) = self.remembered().get(&sum)
            && good.expires.saturating_add(LEEWAY) > now
        {
            return Ok(good.user.clone());
        }
        let claims = self.claims(token).ok_or(Unauthorized)?;
        let user = Arc::new(User {
            id: claims.sub,
            limits: Limits {
                max_size: claims.upload_max_size,
                quota: claims.upload_quota,
                types: claims.upload_types,
                open_uploads: claims.upload_max_open,
                uploads_per_hour: claims.upload_max_per_hour,
                request_rate: claims.upload_request_rate,
                byte_rate: claims.upload_byte_rate.map(at_least),
            },
        });
        let mut good = self.remembered();
        if good.len() >= REMEMBERED {
            good.retain(|_, good| good.expires > now);
        }
        if good.len() < REMEMBERED {
            let expires = claims.exp;
            let user = user.clone();
            good.insert(sum, Good { user, expires });
        }
        Ok(user)
    }

    pub(super) fn users(&self) -> Vec<Arc<User>> {
        let good = self.remembered();
        good.values().map(|good| good.user.clone()).collect()
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Good>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        let head = decode_header(token).ok()?;
        // A header that changes what the rest means is not understood. Source: RFC 7515, 4.1.11.
        if head.crit.is_some() {
            return None;
        }
        let named = |key: &&Key| match (&head.kid, &key.id) {
            (Some(told), Some(own)) => told == own,
            _ => true,
        };
        let keys = self.keys.iter().filter(named);
        keys.filter(|key| key.algorithm == head.alg)
            .find_map(|key| decode::<Claims>(token, &key.verifies, &key.rules).ok())
            .map(|data| data.claims)
    }

    /// From the file's content.
    pub(super) fn of(text: &[u8], expect: &Expect) -> Result<Self, String> {
        let start = text.trim_ascii_start();
        let keys = if start.starts_with(b"{") {
            from_jwks(start)?
        } else if contains(text, BEGIN) {
            from_pems(text)?
        } else {
            vec![from_secret(text)?]
        };
        let keys = keys.into_iter().map(|(id, algorithm, key)| Key {
            id,
            algorithm,
            verifies: key,
            rules: rules(algorithm, expect),
        });
        Ok(Self {
            keys: keys.collect(),
            good: Mutex::default(),
        })
    }
}

/// Whole seconds of a `NumericDate`, which may have a fraction. Source: RFC 7519, 2.
fn numeric_date<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let seconds = f64::deserialize(from)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(since) => Ok(since.as_secs()),
        // Past all that 64 bits count is never.
        Err(_) if seconds > 0.0 => Ok(u64::MAX),
        Err(error) => Err(D::Error::custom(error)),
    }
}

/// Below the slowest rate a body is taken for dead; 0 is no limit.
fn at_least(rate: u64) -> u64 {
    if rate == 0 {
        0
    } else {
        rate.max(SLOWEST.get())
    }
}

fn rules(algorithm: Algorithm, expect: &Expect) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.leeway = LEEWAY;
    rules.validate_nbf = true;
    let mut required = vec!["exp", "sub"];
    if let Some(audience) = &expect.audience {
        rules.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &expect.issuer {
        rules.set_issuer(&[issuer]);
        required.push("iss");
    }
    rules.set_required_spec_claims(&required);
    rules
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|part| part == words)
}

/// A secret is a line of text. What may be a public key in some other form is none: everybody knows those bytes, and could
/// sign with them.
fn from_secret(text: &[u8]) -> Result<Found, String> {
    let secret = text.trim_ascii();
    let lines = secret.iter().any(u8::is_ascii_control);
    let key = [&b"["[..], b"ssh-", b"ecdsa-", b"MII", b"MCo", b"MFk"];
    if lines || std::str::from_utf8(secret).is_err() || secret.starts_with("\u{feff}".as_bytes()) {
        return Err("a secret is one line of text; a public key is PEM, a JWK or a JWK set".into());
    }
    if key.iter().any(|begin| secret.starts_with(begin)) {
        return Err("this looks like a public key, which must be PEM, a JWK or a JWK set".into());
    }
    if secret.len() < SHORTEST {
        return Err(TOO_SHORT.into());
    }
    Ok((None, Algorithm::HS256, DecodingKey::from_secret(secret)))
}

const TOO_SHORT: &str = "a secret has at least 32 bytes";

const BEGIN: &[u8] = b"-----BEGIN";

type Found = (Option<String>, Algorithm, DecodingKey);

/// One key or more, one block after the other.
fn from_pems(text: &[u8]) -> Result<Vec<Found>, String> {
    let mut begins: Vec<_> = (0..text.len())
        .filter(|at| text[*at..].starts_with(BEGIN))
        .collect();
    begins.push(text.len());
    let keys = begins.windows(2).map(|ends| &text[ends[0]..ends[1]]);
    keys.map(from_pem).collect()
}

fn from_pem(pem: &[u8]) -> Result<Found, String> {
    if contains(pem, b"PRIVATE") {
        return Err("this is a private key; the server wants the public one".into());
    }
    // A point of P-256 has 65 bytes; other curves have other lengths, and no algorithm here.
    let is_p256 = |key: &DecodingKey| key.try_get_as_bytes().is_ok_and(|point| point.len() == 65);
    let found = DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::ES256, key));
    if let Ok((_, key)) = &found
        && !is_p256(key)
    {
        return Err("a key on another curve than P-256".into());
    }
    let found = found.or_else(|_| DecodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key)));
    let found =
        found.or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::RS256, key)));
    let (algorithm, key) =
        found.map_err(|_| "no public key of RSA, P-256 or Ed25519 in PEM".to_owned())?;
    Ok((None, algorithm, key))
}

fn from_jwks(json: &[u8]) -> Result<Vec<Found>, String> {
    let set = serde_json::from_slice::<JwkSet>(json).or_else(|error| {
        serde_json::from_slice::<Jwk>(json)
            .map(|key| JwkSet { keys: vec![key] })
            .map_err(|_| {
                format!(
                    "neither a JWK nor a JWK set, from line {} column {} on",
                    error.line(),
                    error.column()
                )
            })
    })?;
    // Keys for encryption, and of kinds that are not known here, may stand in the same set.
    let of_use = |key: &&Jwk| {
        let signs = matches!(
            key.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        signs && algorithm(key).is_some()
    };
    let found = set.keys.iter().filter(of_use).filter_map(|key| {
        let algorithm = algorithm(key)?;
        let id = key.common.key_id.clone();
        let made = DecodingKey::from_jwk(key).map_err(|_| format!("key {id:?} is broken"));
        let made = made.and_then(|made| {
            let short = algorithm == Algorithm::HS256
                && made
                    .try_get_as_bytes()
                    .is_ok_and(|secret| secret.len() < SHORTEST);
            if short {
                Err(TOO_SHORT.to_owned())
            } else {
                Ok(made)
            }
        });
        Some(made.map(|made| (id, algorithm, made)))
    });
    let found = found.collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err("no key of HS256, RS256, ES256 or EdDSA".into());
    }
    Ok(found)
}

/// The one algorithm that a key is for.
fn algorithm(key: &Jwk) -> Option<Algorithm> {
    let own = match &key.algorithm {
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let told = key.common.key_algorithm.map(|told| told.to_string());
    told.is_none_or(|told| told == format!("{own:?}"))
        .then_some(own)
}

#[cfg(test)]
mod tests;
