//! What would happen in a session, and what the policy in force comes to: for `postern explain` and `postern diff`.
//!
//! Never: a decision; those are the policy's.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use postern_config::Authentication;
use postern_control::query::{Answer, Case};
use postern_policy::explain::{Known, Names, Unfinished, explain as explain_case};
use postern_policy::facts::Facts;
use postern_policy::{Means, TAKEN_FOR_A_TICKETS, TAKEN_FOR_DOVECOTS, by_ticket};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::task::spawn_blocking;

use crate::accounts::{Accounts, LoggedIn, Unavailable};
use crate::door::Phase;
use crate::generation::Generation;
use crate::server::Server;

/// Explains a case under the policy in force. Names are looked up only where a rule asks for them.
pub(super) async fn explain(server: &Arc<Server>, case: &Case) -> Answer {
    let generation = server.generation.load_full();
    let hosts = generation.hosts.load_full();
    let login = case.login.as_deref();
    let authentication = &generation.definition.authentication;
    let (account, assumed) = match who(&generation.accounts, authentication, login).await {
        Ok(found) => found,
        Err(unavailable) => {
            return Answer::Unknown {
                reason: unavailable.to_string(),
            };
        }
    };
    let keyed = login.and_then(|name| generation.accounts.scram_keys(name));
    let keyed = keyed.map(|(_, account)| account);
    let mut known = Known {
        means: Means {
            certificate: generation.server_tls.is_some(),
            accounts: generation.accounts.know_passwords(),
            scram: generation.accounts.has_scram_keys(),
            certificates: generation.definition.tls.client_ca.is_some(),
            kerberos: generation.accounts.take_tickets(),
            ntlm: generation.accounts.answer_ntlm(),
        },
        hosts: &hosts.resolved,
        names: Names::Unasked,
        login: account.as_ref().map(LoggedIn::as_login),
        keyed: keyed.as_ref().map(LoggedIn::as_login),
        now: Instant::now(),
    };
    let mut explained = explain_case(&generation.policy, case, &known);
    let names;
    if explained == Err(Unfinished::NamesWanted) {
        let (resolver, counters) = (&generation.resolver, &server.counters);
        names = server
            .names
            .of(resolver, counters, case.client.to_canonical())
            .await;
        known.names = Names::Found(&names);
        explained = explain_case(&generation.policy, case, &known);
    }
    match explained {
        Ok(mut explanation) => {
            explanation.notes.extend(assumed.map(str::to_owned));
            if server.door.phase() != Phase::Open {
                let note = "the server is paused or stopping: new connections hear 421 4.3.2";
                explanation.notes.push(note.to_owned());
            }
            Answer::Explained(Box::new(explanation.bounded()))
        }
        Err(unfinished) => Answer::Unknown {
            reason: unfinished.to_string(),
        },
    }
}

/// The account of a name, and what is only assumed about it.
async fn who(
    accounts: &Accounts,
    authentication: &Authentication,
    login: Option<&str>,
) -> Result<(Option<LoggedIn>, Option<&'static str>), Unavailable> {
    let Some(name) = login else {
        return Ok((None, None));
    };
    if let Some(found) = accounts.find(name).await? {
        return Ok((Some(found), None));
    }
    if let Some(assumed) = accounts.if_dovecots(name) {
        return Ok((Some(assumed), Some(TAKEN_FOR_DOVECOTS)));
    }
    match by_ticket(authentication, name) {
        Some(ticket) => {
            let (found, known) = accounts.if_a_tickets(&ticket).await?;
            Ok((found, (!known).then_some(TAKEN_FOR_A_TICKETS)))
        }
        None => Ok((None, None)),
    }
}

/// The facts of the policy in force, written to a file in memory.
pub(super) async fn facts(generation: Arc<Generation>) -> std::io::Result<OwnedFd> {
    let written = spawn_blocking(move || {
        let facts = Facts::of(&generation.policy, generation.accounts.all());
        let mut file = File::from(memfd_create("facts", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(&facts)?)?;
        Ok(file.into())
    });
    written.await.map_err(std::io::Error::other)?
}
