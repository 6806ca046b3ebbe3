//! LMTP (RFC 2033): the same conversation as SMTP, with LHLO, and one reply a recipient at the end.
//!
//! Never: TLS or a login; an LMTP server stands on this host or beside it.

use std::sync::Arc;

use postern_smtp::EnhancedCode;

use crate::outcome::Answer;
use crate::route::Endpoint;
use crate::smtp::{CONNECT_PATIENCE, Connection, Terms};
use crate::transport::{Stream, dial, dial_unix};

/// Connects to an LMTP server; a name's addresses have been looked up by the caller.
pub async fn open(
    terms: &Terms,
    endpoint: &Endpoint,
    addresses: &[std::net::SocketAddr],
) -> Result<Connection, Answer> {
    let host: Arc<str> = Arc::from(format!("lmtp:{endpoint}"));
    let patience = CONNECT_PATIENCE.min(terms.timeout);
    let mut last = Answer::ours(&host, EnhancedCode(4, 4, 1), "no address to connect to");
    let stream = match endpoint {
        Endpoint::Unix(path) => dial_unix(path, patience).await.map(Stream::Unix),
        Endpoint::Tcp(_) => {
            let mut stream = Err(crate::transport::Break::Closed);
            for address in addresses {
                stream = dial(*address, patience).await.map(Stream::Tcp);
                if stream.is_ok() {
                    break;
                }
            }
            if addresses.is_empty() {
                return Err(last);
            }
            stream
        }
    };
    match stream {
        Ok(stream) => Connection::greet(terms, stream, host, true).await,
        Err(broken) => {
            last.text = format!("cannot connect: {broken}").into();
            Err(last)
        }
    }
}
