//! A server that is there already.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::error::StudioError;
use crate::state::{Address, StateFolder};
use crate::studio::Setup;

/// Time for the other server to answer in.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has the server that holds the folder open a page, and returns its address.
///
/// # Errors
/// [`StudioError::Silent`].
pub(crate) fn ask(setup: &Setup) -> Result<String, StudioError> {
    let silent = |source| StudioError::Silent { path: setup.state.clone(), source };
    let address = StateFolder::address_of(&setup.state)
        .ok_or_else(|| silent(io::Error::other("it has not said where it is found")))?;
    request(&address, setup).map_err(silent)?;
    Ok(format!("http://127.0.0.1:{}/#key={}", address.port, address.key))
}

fn request(address: &Address, setup: &Setup) -> io::Result<()> {
    let Address { port, key } = address;
    let start = setup.start.as_ref().map(|path| path.to_string_lossy());
    let body = json!({ "start": start, "opens": setup.opens_browser }).to_string();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // By hand: for this one request no client has to be built in.
    let request = format!(
        "POST /api/open HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    // The status is all that matters; the body is left unread.
    match &answer == b"HTTP/1.1 200" {
        true => Ok(()),
        false => Err(io::Error::other("its answer is not one of a studio")),
    }
}
