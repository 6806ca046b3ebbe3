//! One exchange's tickets: the library's context, and what is asked of it beyond what it checks.
//!
//! | Asked | Where the answer stands |
//! |---|---|
//! | ticket and authenticator fit a key, are of now, and new | the library |
//! | the client's channel binding, where it sends one | the library; "both sent the same" is flag 0x800 |
//! | Kerberos, and not another mechanism the library has | the context's mechanism |
//! | somebody | no anonymous flag, no `WELLKNOWN/` name |
//! | of a realm that is taken | the principal's |
//!
//! Never: a principal whose name is ambiguous.

use std::sync::Arc;

use libgssapi::context::{CtxFlags, SecurityContext, ServerCtx};
use libgssapi::credential::Cred;
use libgssapi::error::Error;
use libgssapi::oid::{GSS_MECH_KRB5, Oid};
use postern_control::auth::{RefusedKind, Terms};
use postern_sasl::Ticket;

use super::end_points::{EndPoints, Search};
use crate::backend::{Backend, No, Tickets};

/// Both sides sent the same channel binding (MIT's gssapi_ext.h).
const CHANNEL_BOUND: u32 = 0x800;

/// The longest principal, in octets: an account's name of 254, and a realm.
const LONGEST: usize = 512;

/// Windows' own number for Kerberos.
const MS_KERBEROS: Oid<'static> = Oid::from_slice(b"\x2a\x86\x48\x82\xf7\x12\x01\x02\x02");

/// The keytab, as one thread asks it.
pub(super) struct Kerberos {
    credentials: Cred,
    realms: Arc<[String]>,
    end_points: EndPoints,
}

impl Kerberos {
    /// By these keys, for these realms where the terms name none.
    pub(super) fn new(credentials: Cred, realms: Arc<[String]>, end_points: EndPoints) -> Kerberos {
        Kerberos {
            credentials,
            realms,
            end_points,
        }
    }
}

impl Backend for Kerberos {
    fn tickets(&mut self, terms: &Terms) -> Option<Box<dyn Tickets>> {
        let realms = match terms.domains.as_slice() {
            [] => self.realms.clone(),
            named => named.into(),
        };
        let home = home(&terms.domains, &self.realms).map(str::to_owned);
        Some(Box::new(Context {
            context: ServerCtx::new(Some(self.credentials.clone())),
            realms,
            home,
            at_home: false,
            binding: Binding::of(terms, &self.end_points),
        }))
    }
}

struct Context {
    context: ServerCtx,
    realms: Arc<[String]>,
    /// The realm whose accounts are meant by their bare names too.
    home: Option<String>,
    at_home: bool,
    binding: Binding,
}

/// What the client may be bound to.
enum Binding {
    /// There is no TLS, or nothing to tell it by.
    None,
    /// One certificate.
    One(Vec<u8>),
    /// One of several; which, shows with each token.
    Among(Search),
}

impl Binding {
    fn of(terms: &Terms, end_points: &EndPoints) -> Binding {
        match terms.end_points.as_slice() {
            [] => Binding::None,
            [one] => Binding::One(application_data(&one.0)),
            _ => Binding::Among(end_points.search(terms)),
        }
    }

    fn found(&mut self, token: &[u8]) -> Result<Option<Vec<u8>>, No> {
        Ok(match self {
            Binding::None => None,
            Binding::One(binding) => Some(binding.clone()),
            Binding::Among(search) => Some(application_data(search.with(token)?)),
        })
    }
}

/// As Microsoft's clients have it, and those who follow them.
fn application_data(end_point: &[u8]) -> Vec<u8> {
    [b"tls-server-end-point:", end_point].concat()
}

impl Tickets for Context {
    fn step(&mut self, token: &[u8]) -> Result<Ticket, No> {
        let binding = self.binding.found(token)?;
        let reply = self.context.step(token, binding.as_deref()).map_err(no)?;
        let reply = reply.map(|reply| reply.to_vec());
        if !self.context.is_complete() {
            return Ok(Ticket::Continue(reply.unwrap_or_default()));
        }
        let flags = self.context.flags().map_err(no)?;
        let principal = self.principal(flags)?;
        let realm = principal.rsplit_once('@').map(|(_, realm)| realm);
        let is = |home: &String| realm.is_some_and(|realm| realm.eq_ignore_ascii_case(home));
        self.at_home = self.home.as_ref().is_some_and(is);
        Ok(Ticket::Accepted {
            reply,
            principal,
            bound: flags.bits() & CHANNEL_BOUND != 0,
        })
    }

    fn at_home(&self) -> bool {
        self.at_home
    }

    fn wrap(&mut self, octets: &[u8]) -> Result<Vec<u8>, No> {
        let wrapped = self.context.wrap(false, octets).map_err(no)?;
        Ok(wrapped.to_vec())
    }

    fn unwrap(&mut self, octets: &[u8]) -> Result<Vec<u8>, No> {
        let unwrapped = self.context.unwrap(octets).map_err(no)?;
        Ok(unwrapped.to_vec())
    }
}

impl Context {
    /// `alice@REALM`, if it may be taken.
    fn principal(&self, flags: CtxFlags) -> Result<String, No> {
        let mechanism = self.context.mechanism().map_err(no)?;
        if mechanism != GSS_MECH_KRB5 && mechanism != MS_KERBEROS {
            return Err(No::refused("the mechanism inside is not Kerberos"));
        }
        let name = self
            .context
            .source_name()
            .and_then(|name| name.display_name());
        let principal = String::from_utf8(name.map_err(no)?.to_vec());
        let principal = principal.map_err(|_| No::refused("the principal's name is not text"))?;
        if flags.contains(CtxFlags::GSS_C_ANON_FLAG) {
            return Err(refused(principal, "the ticket is an anonymous one"));
        }
        match taken(&principal, &self.realms) {
            Ok(()) => Ok(principal),
            Err(why) => Err(refused(principal, why)),
        }
    }
}

/// The realm that a bare name is of: the first listed, or the keytab's only one. `*` is none.
fn home<'r>(listed: &'r [String], keytab: &'r [String]) -> Option<&'r str> {
    match (listed, keytab) {
        ([first, ..], _) => Some(first.as_str()).filter(|first| *first != "*"),
        ([], [only]) => Some(only),
        ([], _) => None,
    }
}

/// Whether this principal is somebody, of one of the realms.
fn taken(principal: &str, realms: &[String]) -> Result<(), String> {
    // The library writes `\` before what would be read as something else: no account has such a name.
    if principal.contains(|letter: char| letter == '\\' || letter.is_control()) {
        return Err("the principal's name is ambiguous".to_owned());
    }
    let Some((name, realm)) = principal.rsplit_once('@') else {
        return Err("the principal has no realm".to_owned());
    };
    if name.is_empty() || name.contains('@') || principal.len() > LONGEST {
        return Err("the principal's name is no account's".to_owned());
    }
    if name.starts_with("WELLKNOWN/") || realm.starts_with("WELLKNOWN:") {
        return Err("the ticket is an anonymous one".to_owned());
    }
    let fits = |one: &String| one == "*" || one.eq_ignore_ascii_case(realm);
    match realms.iter().any(fits) {
        true => Ok(()),
        false => Err(format!(
            "the realm {realm} is not one whose accounts are taken"
        )),
    }
}

fn refused(principal: String, why: impl ToString) -> No {
    No::Refused {
        name: Some(principal),
        why: why.to_string(),
        kind: RefusedKind::Barred,
    }
}

/// The library's reason. What it could not find out for a fault of this host's is no refusal.
fn no(error: Error) -> No {
    let why = words(&error.to_string());
    match of_this_host(error.minor) {
        true => No::unavailable(why),
        false => No::refused(why),
    }
}

/// Errors of the system, of the files of replays and of settings, and of the keytab's file; krb5.h has the numbers.
fn of_this_host(minor: u32) -> bool {
    const REPLAY: i32 = -1_765_328_221;
    // What the library also says to a token it cannot read.
    const EINVAL: i32 = 22;
    const ERANGE: i32 = 34;
    match minor.cast_signed() {
        REPLAY | EINVAL | ERANGE => false,
        1..=4_095 => true,
        -1_765_328_225..=-1_765_328_212 => true,
        -1_765_328_200..=-1_765_328_199 => true,
        // KRB5_CONFIG_CANTOPEN, BADFORMAT, NOTENUFSPACE and NODEFREALM; all of profile.h: a krb5.conf, or what it includes.
        -1_765_328_249..=-1_765_328_247 | -1_765_328_160 => true,
        -1_429_577_728..=-1_429_577_473 => true,
        _ => false,
    }
}

/// `Unspecified GSS failure.  Minor code may provide more information (Clock skew too great)`: what stands in brackets, which
/// is all there is to know; without letters that would break a line of the log.
fn words(text: &str) -> String {
    const EMPTY: &str = "Unspecified GSS failure.  Minor code may provide more information";
    const LONGEST: usize = 300;
    let text = text.strip_prefix(EMPTY).unwrap_or(text).trim();
    let inside = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    let plain = |letter: char| match letter.is_control() {
        true => '?',
        false => letter,
    };
    inside
        .unwrap_or(text)
        .chars()
        .map(plain)
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn realms(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn realms_are_compared_without_case() {
        let ours = realms(&["Corp.Example", "OTHER"]);
        assert_eq!(taken("alice@CORP.EXAMPLE", &ours), Ok(()));
        assert_eq!(taken("alice/admin@other", &ours), Ok(()));
        let why = taken("alice@EVIL", &ours).unwrap_err();
        assert_eq!(why, "the realm EVIL is not one whose accounts are taken");
        assert!(taken("alice@EVIL", &[]).is_err());
        assert_eq!(taken("alice@EVIL", &realms(&["*"])), Ok(()));
    }

    #[test]
    fn one_realm_is_at_home_or_none() {
        let (one, two) = (realms(&["CORP"]), realms(&["CORP", "LAB"]));
        assert_eq!(home(&[], &one), Some("CORP"));
        assert_eq!(home(&[], &two), None);
        assert_eq!(home(&realms(&["LAB", "CORP"]), &two), Some("LAB"));
        assert_eq!(home(&realms(&["*"]), &one), None);
    }

    #[test]
    fn nobody_in_particular_is_refused() {
        let all = realms(&["*"]);
        for principal in [
            "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS",
            "WELLKNOWN/ANONYMOUS@CORP.EXAMPLE",
            "alice@WELLKNOWN:ANONYMOUS",
            "alice\\@corp.example@CORP.EXAMPLE",
            "alice@corp.example@CORP.EXAMPLE",
            "al\nice@CORP.EXAMPLE",
            "@CORP.EXAMPLE",
            &format!("{}@CORP.EXAMPLE", "a".repeat(512)),
            "alice",
            "",
        ] {
            assert!(taken(principal, &all).is_err(), "{principal}");
        }
    }

    #[test]
    fn a_reason_is_what_the_library_says_about_this_token() {
        let generic = "Unspecified GSS failure.  Minor code may provide more information";
        let skew = format!("{generic} (Clock skew too great)");
        assert_eq!(words(&skew), "Clock skew too great");
        let token = "Invalid token was supplied (No error)";
        assert_eq!(words(token), token);
        assert_eq!(words("a\nb"), "a?b");
    }

    #[test]
    fn a_replay_is_refused_and_a_full_disk_is_not() {
        assert!(!of_this_host((-1_765_328_221_i32).cast_unsigned()));
        assert!(!of_this_host((-1_765_328_347_i32).cast_unsigned()));
        assert!(!of_this_host(0));
        assert!(!of_this_host(22));
        assert!(of_this_host(28));
        assert!(of_this_host((-1_765_328_214_i32).cast_unsigned()));
        // A krb5.conf that cannot be read, and a folder it includes.
        assert!(of_this_host((-1_765_328_249_i32).cast_unsigned()));
        assert!(of_this_host((-1_429_577_696_i32).cast_unsigned()));
    }
}
