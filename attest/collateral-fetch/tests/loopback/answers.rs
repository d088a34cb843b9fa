//! What a fetch does with each kind of answer, from services on loopback.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::DateTime;
use tributary_collateral_fetch::{FetchError, FetchOptions, Fetcher, ProxyChoice, Retry};

use crate::support::{Reply, Service, Tls, proxy};

/// No proxy of the surroundings, and no real waiting.
struct Client {
    fetcher: Fetcher,
    waits: Arc<Mutex<Vec<u64>>>,
}

fn client(change: impl FnOnce(&mut FetchOptions)) -> Client {
    let mut options = FetchOptions {
        retry: Retry {
            attempts: 4,
            ..Retry::default()
        },
        ..FetchOptions::default()
    };
    change(&mut options);
    let waits = Arc::<Mutex<Vec<u64>>>::default();
    let log = Arc::clone(&waits);
    let fetcher = Fetcher::new(&options).unwrap().with_time(
        || DateTime::from_timestamp(1_445_412_420, 0).unwrap(),
        move |wait| log.lock().unwrap().push(wait.as_secs()),
    );
    Client { fetcher, waits }
}

impl Client {
    fn get(&self, service: &Service) -> Result<Vec<u8>, FetchError> {
        let url = format!("{}/what?x=1", service.url());
        self.fetcher.get(&url, 1000).map(|answer| answer.body)
    }

    fn waits(&self) -> Vec<u64> {
        self.waits.lock().unwrap().clone()
    }
}

fn plain() -> Client {
    client(|_| ())
}

#[test]
fn an_answer_comes_with_its_headers() {
    let service = Service::in_turn([Reply::ok("X-Chain: a%0Ab\r\n", b"body")]);
    let answer = plain().fetcher.get(&service.url(), 4).unwrap();
    assert_eq!(answer.body, b"body");
    assert_eq!(answer.header("x-chain"), Some("a%0Ab"));
    assert_eq!(answer.header("x-other"), None);
}

#[test]
fn what_is_not_there_is_asked_for_once() {
    for (status, found) in [("404 Not Found", false), ("403 Forbidden", true)] {
        let service = Service::in_turn([Reply::status(status, "", b"no")]);
        let error = plain().get(&service).unwrap_err();
        assert_eq!(matches!(error, FetchError::Status { .. }), found, "{error}");
        assert_eq!(matches!(error, FetchError::NotFound { .. }), !found);
        assert_eq!(service.count(), 1);
    }
}

#[test]
fn a_busy_service_is_asked_again_when_it_says() {
    let busy = |after: &str| Reply::status("429 Too Many Requests", after, b"");
    let service = Service::in_turn([
        busy("Retry-After: 7\r\n"),
        busy("Retry-After: Wed, 21 Oct 2015 07:27:30 GMT\r\n"),
        busy(""),
        Reply::ok("", b"body"),
    ]);
    let client = plain();
    assert_eq!(client.get(&service).unwrap(), b"body");
    assert_eq!(client.waits(), [7, 30, 4]);

    let service = Service::in_turn([busy("Retry-After: 3600\r\n")]);
    let client = plain();
    let error = client.get(&service).unwrap_err();
    assert!(
        matches!(error, FetchError::RetryLater { wait, .. } if wait == Duration::from_secs(3600)),
        "{error}"
    );
    assert_eq!((service.count(), client.waits().len()), (1, 0));
}

#[test]
fn a_service_that_always_fails_is_left_alone_in_the_end() {
    for status in ["500 Internal Server Error", "503 Service Unavailable"] {
        let service = Service::in_turn([Reply::status(status, "", b"")]);
        let client = plain();
        let error = client.get(&service).unwrap_err();
        assert!(
            matches!(error, FetchError::Status { attempts: 4, .. }),
            "{error}"
        );
        assert_eq!((service.count(), client.waits()), (4, vec![1, 2, 4]));
    }
}

#[test]
fn a_service_that_says_nothing_is_not_waited_for() {
    let service = Service::in_turn([Reply::Silence]);
    let client = client(|options| {
        options.timeout = Duration::from_millis(100);
        options.retry.attempts = 2;
    });
    let error = client.get(&service).unwrap_err();
    assert!(
        matches!(error, FetchError::Timeout { attempts: 2, .. }),
        "{error}"
    );
    assert_eq!(service.count(), 2);
}

#[test]
fn a_body_that_stops_in_the_middle_is_fetched_again() {
    let cut = Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec());
    let service = Service::in_turn([cut.clone(), Reply::ok("", b"whole")]);
    assert_eq!(plain().get(&service).unwrap(), b"whole");
    let service = Service::in_turn([cut]);
    let error = plain().get(&service).unwrap_err();
    assert!(
        matches!(error, FetchError::Transport { attempts: 4, .. }),
        "{error}"
    );
}

#[test]
fn a_body_beyond_its_limit_is_refused_at_once() {
    let service = Service::in_turn([Reply::ok("", &[0; 1001])]);
    let error = plain().get(&service).unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { limit: 1000, .. }),
        "{error}"
    );
    assert_eq!(service.count(), 1);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless: Vec<u8> = chunked
        .iter()
        .copied()
        .chain(
            b"ff\r\n"
                .iter()
                .copied()
                .chain([0; 255])
                .chain(*b"\r\n")
                .cycle()
                .take(5000),
        )
        .collect();
    let service = Service::in_turn([Reply::Raw(endless)]);
    let error = plain().get(&service).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
}

#[test]
fn an_answer_that_is_not_http_and_a_closed_port_are_failures() {
    let service = Service::in_turn([Reply::Raw(b"SSH-2.0-other\r\n".to_vec())]);
    assert!(matches!(
        plain().get(&service),
        Err(FetchError::Transport { .. })
    ));
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let client = plain();
    let error = client
        .fetcher
        .get(&format!("http://{closed}/"), 10)
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Transport { attempts: 4, .. }),
        "{error}"
    );
}

#[test]
fn tls_holds_against_the_roots_that_are_given_and_no_others() {
    let tls = Tls::new();
    let service = Service::over_tls(&tls, [Reply::ok("", b"body")]);
    let url = format!("https://localhost:{}/", service.address.port());
    let trusting = |root: Option<&Tls>| {
        client(|options| options.roots = root.iter().map(|tls| tls.root.clone()).collect())
    };
    let answer = trusting(Some(&tls)).fetcher.get(&url, 10).unwrap();
    assert_eq!(answer.body, b"body");
    for stranger in [None, Some(&Tls::new())] {
        let client = trusting(stranger);
        let error = client.fetcher.get(&url, 10).unwrap_err();
        assert!(
            matches!(error, FetchError::Transport { attempts: 1, .. }),
            "{error}"
        );
        assert!(client.waits().is_empty());
    }
    let mut options = FetchOptions::default();
    options.roots.push(b"no certificate".to_vec());
    assert!(matches!(
        Fetcher::new(&options),
        Err(FetchError::Options { .. })
    ));
}

#[test]
fn a_proxy_connects_to_the_service() {
    let (tls, proxy) = (Tls::new(), proxy());
    let service = Service::over_tls(&tls, [Reply::ok("", b"body")]);
    let client = client(|options| {
        options.proxy = ProxyChoice::Address(format!("http://{}", proxy.address));
        options.roots = vec![tls.root.clone()];
    });
    let authority = format!("localhost:{}", service.address.port());
    let answer = client.fetcher.get(&format!("https://{authority}/x"), 10);
    assert_eq!(answer.unwrap().body, b"body");
    assert_eq!(*proxy.asked.lock().unwrap(), [authority]);
    assert_eq!(*service.asked.lock().unwrap(), ["/x"]);

    let options = FetchOptions {
        proxy: ProxyChoice::Address("ftp:// no proxy".to_owned()),
        ..FetchOptions::default()
    };
    assert!(matches!(
        Fetcher::new(&options),
        Err(FetchError::Options { .. })
    ));
}
