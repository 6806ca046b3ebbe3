//! SCRAM-SHA-256 against GNU SASL, both ways, over its standard input and output.
//!
//! -PLUS needs TLS under it: the tests of the whole house have that.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_sasl::{
    Bindings, Credentials, Exchange, Login, Mechanism, Peer, Refusal, ScramKeys, Secret, Step,
    Surroundings, Want,
};

const MECHANISM: Mechanism = Mechanism::ScramSha256;
const NAME: &str = "jürgen,=x";
const PASSWORD: &str = "pässword";

/// A running gsasl; ended with the test.
struct Gsasl {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Gsasl {
    fn start(role: &str, password: &str) -> Gsasl {
        let mut child = Command::new("gsasl")
            .args([role, "--quiet", "--no-cb", "-m", MECHANISM.name()])
            .args(["-a", NAME, "-z", "", "-p", password])
            .args(["--iteration-count", "4096"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("gsasl (tests/tools installs it)");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut gsasl = Gsasl {
            child,
            input,
            output,
        };
        assert_eq!(gsasl.line().as_deref(), Some(MECHANISM.name()));
        gsasl
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("a line");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next blob; none once gsasl has ended.
    fn hear(&mut self) -> Option<Vec<u8>> {
        let line = self.line()?;
        Some(STANDARD.decode(line).expect("base64"))
    }

    fn say(&mut self, blob: &[u8]) {
        writeln!(self.input, "{}", STANDARD.encode(blob)).expect("gsasl listens");
    }
}

impl Drop for Gsasl {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Our server against its client.
fn serve(password: &str) -> Step {
    let mut gsasl = Gsasl::start("--client", password);
    let first = gsasl.hear().expect("a first message");
    let (mut server, mut step) =
        Exchange::start(MECHANISM, Some(&first), &Surroundings::new([7; 32]));
    loop {
        step = match step {
            Step::Want(Want::ScramKeys { name, .. }) => {
                assert_eq!(name, NAME);
                server.give_keys(ScramKeys::derive(PASSWORD.as_bytes(), b"salt", 4_096))
            }
            Step::Challenge(challenge) => {
                gsasl.say(&challenge);
                match gsasl.hear() {
                    Some(answer) => server.step(&answer),
                    // It says nothing to the last message: it has taken the server for what it is.
                    None => server.step(b""),
                }
            }
            end => return end,
        };
    }
}

#[test]
fn its_client_logs_in() {
    let Step::Done(identity) = serve(PASSWORD) else {
        panic!("refused");
    };
    assert_eq!(identity.name, NAME);
    assert_eq!(serve("wrong"), Step::Refused(Refusal::WrongPassword));
}

/// Our client against its server: whether the server proved itself.
fn log_in(password: &str) -> Result<(), Refusal> {
    let mut gsasl = Gsasl::start("--server", PASSWORD);
    let credentials = Credentials {
        name: NAME.to_owned(),
        password: Secret::from(password),
    };
    let peer = Peer {
        random: [9; 32],
        bindings: Bindings::default(),
        plus_offered: false,
        host: "mx1.example".to_owned(),
        time: 0,
    };
    let mut login = Login::facing(MECHANISM, &credentials, peer);
    let mut answer = login.initial().expect("the client speaks first");
    loop {
        gsasl.say(answer.expose());
        let challenge = match gsasl.hear() {
            // An empty line asks for the first message, which is on its way.
            Some(empty) if empty.is_empty() => gsasl.hear(),
            other => other,
        };
        match challenge {
            Some(challenge) => answer = login.answer(&challenge)?,
            None => return login.finish(),
        }
        if login.finish().is_ok() {
            return Ok(());
        }
    }
}

#[test]
fn our_client_logs_in() {
    assert_eq!(log_in(PASSWORD), Ok(()));
    assert_eq!(log_in("wrong"), Err(Refusal::Unproven));
}
