//! Options of identity: who uploads.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ConfigError, at, path};
use crate::security::auth::{Auth, Expect, Forward, Kept, Trusted, UserHeader};

/// How users are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthMode {
    /// Nobody is asked: everybody may do everything.
    None,
    /// Bearer tokens of --auth-file.
    Token,
    /// JSON Web Tokens, signed by a key of --auth-file.
    Jwt,
    /// A proxy names the user, in --auth-forward-header.
    Forward,
}

/// Who uploads.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AuthOptions {
    /// How users are told apart.
    #[arg(long, value_name = "MODE", value_enum, default_value_t = AuthMode::None)]
    pub auth: AuthMode,
    /// With --auth token: a TOML file of users and their tokens, as the README shows. With
    /// --auth jwt: a public key in PEM, a JWK set, or a secret. It is read again when it changes.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub auth_file: Option<PathBuf>,
    /// Audience that a JSON Web Token must name.
    #[arg(long, value_name = "TEXT")]
    pub auth_audience: Option<String>,
    /// Issuer that a JSON Web Token must name.
    #[arg(long, value_name = "TEXT")]
    pub auth_issuer: Option<String>,
    /// Header in which a proxy names the user.
    #[arg(long, value_name = "NAME", default_value = "X-Forwarded-User")]
    pub auth_forward_header: UserHeader,
    /// Addresses and networks of proxies that are believed, separated by commas; `unix` for the Unix socket.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub auth_forward_from: Trusted,
}

impl AuthOptions {
    /// An option that the mode has no use for was meant for another one: without it the server would stand open.
    fn check_use(&self) -> Result<(), ConfigError> {
        use AuthMode::{Forward, Jwt, Token};
        let set: [(&'static str, bool, &[AuthMode]); 4] = [
            ("auth-file", self.auth_file.is_some(), &[Token, Jwt]),
            ("auth-audience", self.auth_audience.is_some(), &[Jwt]),
            ("auth-issuer", self.auth_issuer.is_some(), &[Jwt]),
            (
                "auth-forward-from",
                !self.auth_forward_from.is_empty(),
                &[Forward],
            ),
        ];
        let unused = set
            .iter()
            .find(|(_, set, modes)| *set && !modes.contains(&self.auth));
        match unused {
            Some((option, ..)) => Err(at(option)("--auth, as it is, has no use for it")),
            None => Ok(()),
        }
    }

    /// What these options say together; files are read.
    /// # Errors
    /// An option that is missing, or a file that cannot be used.
    pub fn open(&self) -> Result<Auth, ConfigError> {
        self.check_use()?;
        let file = || {
            let missing = || at("auth-file")("needed by --auth token and --auth jwt");
            self.auth_file.as_deref().ok_or_else(missing)
        };
        Ok(match self.auth {
            AuthMode::None => Auth::None,
            AuthMode::Token => Auth::Token(Kept::read([file()?], ()).map_err(at("auth-file"))?),
            AuthMode::Jwt => {
                let expect = Expect {
                    audience: self.auth_audience.clone(),
                    issuer: self.auth_issuer.clone(),
                };
                Auth::Jwt(Kept::read([file()?], expect).map_err(at("auth-file"))?)
            }
            AuthMode::Forward if self.auth_forward_from.is_empty() => {
                return Err(at("auth-forward-from")(
                    "--auth forward needs the addresses of the proxies that are believed",
                ));
            }
            AuthMode::Forward => Auth::Forward(Forward {
                header: self.auth_forward_header.clone(),
                from: self.auth_forward_from.clone(),
            }),
        })
    }
}
