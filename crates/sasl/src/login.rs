//! LOGIN (draft-murchison-sasl-login): the server asks for the name, then for the password.
//!
//! The prompts are exact to the letter: printers compare them, in base64, with what they know.
//! An initial response is the name, as Exchange and Postfix take it.
//!
//! Never: an authorisation identity; the mechanism has none.

use crate::client::Credentials;
use crate::exchange::{Step, Want};
use crate::plain;
use crate::secret::Secret;

/// Asks for the name; `VXNlcm5hbWU6` in base64.
pub(crate) const NAME_PROMPT: &[u8] = b"Username:";
/// Asks for the password; `UGFzc3dvcmQ6` in base64.
pub(crate) const PASSWORD_PROMPT: &[u8] = b"Password:";

#[derive(Debug, Default)]
pub(crate) enum Server {
    #[default]
    Name,
    Password {
        name: String,
    },
}

impl Server {
    /// Takes a response; the state to go on with, where there is one.
    pub(crate) fn step(self, response: &[u8]) -> (Option<Server>, Step) {
        match self {
            Server::Name => match plain::name(response) {
                Ok(name) => (
                    Some(Server::Password {
                        name: name.to_owned(),
                    }),
                    Step::Challenge(PASSWORD_PROMPT.to_vec()),
                ),
                Err(why) => (None, Step::Refused(why)),
            },
            Server::Password { name } => match plain::password(response) {
                Ok(password) => (
                    None,
                    Step::Want(Want::Password {
                        authzid: None,
                        authcid: name,
                        password,
                    }),
                ),
                Err(why) => (None, Step::Refused(why)),
            },
        }
    }
}

#[derive(Debug, Default)]
pub(crate) enum Client {
    #[default]
    Name,
    Password,
}

impl Client {
    /// The next answer, and the state to go on with, where there is one.
    pub(crate) fn answer(self, credentials: &Credentials) -> (Option<Client>, Secret) {
        match self {
            Client::Name => (
                Some(Client::Password),
                Secret::from(credentials.name.as_str()),
            ),
            Client::Password => (None, credentials.password.clone()),
        }
    }
}
