//! Services on loopback that answer as they are told, and count what they are asked.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// What a service does with one connection.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Sends these bytes, and closes.
    Raw(Vec<u8>),
    /// Reads the request, and says nothing until the other side is gone.
    Silence,
}

impl Reply {
    /// Status 200 with headers, each with its line end, and a body.
    pub(crate) fn ok(headers: &str, body: &[u8]) -> Self {
        Self::status("200 OK", headers, body)
    }

    /// Another status.
    pub(crate) fn status(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        Self::Raw([head.as_bytes(), body].concat())
    }
}

/// How a service finds its answer: the request's target in, the reply out.
type Script = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// A service that listens until the test ends.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    /// The targets of all requests, in order.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Answers with these replies in turn, and with the last one from then on.
    pub(crate) fn in_turn(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start(None, turns(replies))
    }

    /// Answers by target, without TLS.
    pub(crate) fn by_target(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(script))
    }

    /// Answers over TLS with a certificate for localhost.
    pub(crate) fn over_tls(tls: &Tls, replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start(Some(Arc::clone(&tls.config)), turns(replies))
    }

    fn start(tls: Option<Arc<ServerConfig>>, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log, tls) = (Arc::clone(&script), Arc::clone(&log), tls.clone());
                // Whoever goes away early has what it wanted.
                thread::spawn(move || match tls {
                    None => answer(stream, &script, &log),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        answer(StreamOwned::new(connection, stream), &script, &log)
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// Its address without TLS.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it was asked.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn turns(replies: impl IntoIterator<Item = Reply>) -> Script {
    let replies = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
    Arc::new(move |_| {
        let mut replies = replies.lock().unwrap();
        if replies.len() > 1 {
            return replies.pop_front().unwrap();
        }
        replies[0].clone()
    })
}

fn answer(
    stream: impl Read + Write,
    script: &Script,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let target = read_target(&mut stream)?;
    log.lock().unwrap().push(target.clone());
    match script(&target) {
        Reply::Raw(bytes) => {
            stream.get_mut().write_all(&bytes)?;
            stream.get_mut().flush()
        }
        Reply::Silence => stream.read_to_end(&mut Vec::new()).map(|_| ()),
    }
}

/// The target of a request, whose head is read to its end.
fn read_target(stream: &mut BufReader<impl Read>) -> std::io::Result<String> {
    let mut first = String::new();
    stream.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? <= 2 {
            break;
        }
    }
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// A certificate for localhost that signs itself.
pub(crate) struct Tls {
    /// The certificate, in DER.
    pub(crate) root: Vec<u8>,
    config: Arc<ServerConfig>,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let root = made.cert.der().to_vec();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(root.clone())], key)
            .unwrap();
        Self {
            root,
            config: Arc::new(config),
        }
    }
}

/// A proxy that connects whoever asks, and remembers to where.
pub(crate) fn proxy() -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            thread::spawn(move || connect(client, &log));
        }
    });
    Service { address, asked }
}

fn connect(client: TcpStream, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let target = read_target(&mut reader)?;
    log.lock().unwrap().push(target.clone());
    let server = TcpStream::connect(target.replace("localhost", "127.0.0.1"))?;
    (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    std::io::copy(&mut &server, &mut &client)?;
    client.shutdown(Shutdown::Write)
}
