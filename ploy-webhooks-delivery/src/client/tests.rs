//! What is sent, over real sockets: classes of failures, times, and bounds.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::address::{AddressPolicy, Lookup};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Every name is 127.0.0.1, as soon as it may be said.
#[derive(Debug)]
struct Gated {
    asked: Notify,
    may_answer: Semaphore,
}

impl Gated {
    fn with_answers(permits: usize) -> Arc<Self> {
        Arc::new(Self { asked: Notify::new(), may_answer: Semaphore::new(permits) })
    }
}

#[async_trait]
impl Lookup for Gated {
    async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.notify_one();
        self.may_answer.acquire().await.unwrap().forget();
        if host == "nobody.example" {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(vec![(Ipv4Addr::LOCALHOST, 0).into()])
    }
}

fn client_of(lookup: Arc<dyn Lookup>, addresses: AddressPolicy) -> Client {
    let connect_timeout = Duration::from_secs(5);
    Client::new(HttpSettings { connect_timeout, lookup, addresses, ..HttpSettings::default() })
        .unwrap()
}

fn client() -> Client {
    client_of(Gated::with_answers(1_000), AddressPolicy::anywhere())
}

fn request(url: &str) -> Request {
    Request {
        method: Method::PUT,
        url: Url::parse(url).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        time_limit: Duration::from_secs(20),
        answer_bytes_max: 1 << 20,
        refusal_bytes_max: 1 << 20,
    }
}

async fn answer(client: &Client, url: &str) -> Answer {
    match client.send(request(url)).await {
        Ok(answer) => answer,
        Err(none) => panic!("{none:?}"),
    }
}

async fn no_answer(client: &Client, request: Request) -> NoAnswer {
    match client.send(request).await {
        Ok(answer) => panic!("{}", answer.status),
        Err(none) => none,
    }
}

/// A server of which each connection is served so; its port.
async fn socket<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection));
        }
    });
    port
}

/// A server that says this to each request of a connection; its port.
async fn says(bytes: &'static str) -> u16 {
    socket(move |mut connection| async move {
        while is_asked(&mut connection).await {
            connection.write_all(bytes.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// A server that says this once and closes; its port.
async fn says_and_closes(bytes: &'static str) -> u16 {
    socket(move |mut connection| async move {
        is_asked(&mut connection).await;
        connection.write_all(bytes.as_bytes()).await.unwrap();
    })
    .await
}

/// Waits for a request to its end; `false` where none comes.
async fn is_asked(connection: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n{}") {
        if connection.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
            continue;
        }
        return false;
    }
    true
}

async fn speaks_tls_that_nobody_vouches_for() -> u16 {
    let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    socket(move |connection| {
        let acceptor = acceptor.clone();
        async move { assert!(acceptor.accept(connection).await.is_err(), "it is let in") }
    })
    .await
}

#[tokio::test]
async fn each_failure_is_of_its_class() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let open = says(OK).await;
    let closes = socket(|connection| async move { drop(connection) }).await;
    let early = says_and_closes("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let garbage = says_and_closes("garbage\r\n\r\n").await;
    let vouchless = speaks_tls_that_nobody_vouches_for().await;
    let greets = socket(|mut connection| async move {
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = connection.read_u8().await;
    })
    .await;
    for (url, class) in [
        ("http://nobody.example/".to_owned(), FailureClass::Dns),
        (format!("http://a.example:{gone}/"), FailureClass::Connect),
        (format!("https://a.example:{gone}/"), FailureClass::Connect),
        (format!("http://127.0.0.1:{gone}/"), FailureClass::Connect),
        (format!("https://a.example:{vouchless}/"), FailureClass::Tls),
        (format!("https://a.example:{greets}/"), FailureClass::Tls),
        (format!("https://127.0.0.1:{greets}/"), FailureClass::Tls),
        (format!("http://a.example:{early}/"), FailureClass::BrokenAnswer),
        (format!("http://a.example:{garbage}/"), FailureClass::BrokenAnswer),
        (format!("http://a.example:{closes}/"), FailureClass::BrokenAnswer),
    ] {
        let none = no_answer(&client(), request(&format!("{url}hunter2?hunter2"))).await;
        assert_eq!(none.class, class, "{url}: {none:?}");
        assert!(!none.is_permanent(), "{url}: {none:?}");
        assert!(none.message.contains(url.trim_end_matches('/')), "{url}: {none:?}");
        assert!(!none.message.contains("hunter2"), "{url}: {none:?}");
    }

    let none = no_answer(&client(), request("ftp://a.example/")).await;
    assert_eq!((none.class, none.is_permanent()), (FailureClass::Unusable, true), "{none:?}");

    let refusing = client_of(Gated::with_answers(1), AddressPolicy::public());
    for (host, is_permanent) in [("127.0.0.1", true), ("a.example", false)] {
        let none = no_answer(&refusing, request(&format!("http://{host}:{open}/"))).await;
        assert_eq!(none.class, FailureClass::AddressRefused, "{none:?}");
        assert_eq!(none.is_permanent(), is_permanent, "{none:?}");
        assert_eq!(none.timings.dns.is_some(), !is_permanent, "{none:?}");
        assert_eq!((none.timings.connect, none.timings.first_byte), (None, None), "{none:?}");
    }
}

#[tokio::test]
async fn a_time_limit_covers_all_of_it() {
    let within = |url: String| Request { time_limit: Duration::from_millis(200), ..request(&url) };
    let silent = socket(|mut connection| async move { while is_asked(&mut connection).await {} });
    let silent = silent.await;
    let begins = says("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let never_found = client_of(Gated::with_answers(0), AddressPolicy::anywhere());
    for (client, url, has_head) in [
        (&client(), format!("http://a.example:{silent}/"), false),
        (&client(), format!("https://a.example:{silent}/"), false),
        (&client(), format!("http://a.example:{begins}/"), true),
        (&never_found, format!("http://a.example:{begins}/"), false),
    ] {
        let none = no_answer(client, within(url)).await;
        assert_eq!(none.class, FailureClass::Timeout, "{none:?}");
        assert!(none.message.ends_with("has not answered within 200ms"), "{none:?}");
        assert_eq!(none.timings.first_byte.is_some(), has_head, "{none:?}");
        assert!(!none.is_permanent());
    }

    let mut settings = HttpSettings { lookup: Gated::with_answers(1), ..HttpSettings::default() };
    settings.connect_timeout = Duration::from_millis(100);
    let url = format!("https://a.example:{silent}/");
    let none = no_answer(&Client::new(settings).unwrap(), request(&url)).await;
    assert_eq!(none.class, FailureClass::Timeout, "{none:?}");
    assert!(none.message.ends_with(" within 100ms"), "{none:?}");
}

#[tokio::test]
async fn a_connection_is_timed_where_it_is_made_and_only_there() {
    let port = says(OK).await;
    let client = client();
    let url = format!("http://a.example:{port}/");
    let first = answer(&client, &url).await;
    let Timings { dns, connect, first_byte, total } = first.timings;
    let parts = dns.expect("it was looked up") + connect.expect("it was connected to");
    assert!(parts <= first_byte.expect("there is an answer"), "{:?}", first.timings);
    assert!(first_byte.is_some_and(|first_byte| first_byte <= total), "{:?}", first.timings);
    assert_eq!(first.peer, Some((Ipv4Addr::LOCALHOST, port).into()));
    assert_eq!(first.body, "ok");

    let second = answer(&client, &url).await;
    assert_eq!((second.timings.dns, second.timings.connect), (None, None));
    assert!(second.timings.first_byte.is_some());
    assert_eq!(second.peer, first.peer);

    let literal = answer(&client, &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(literal.timings.dns, None);
    assert!(literal.timings.connect.is_some());
}

/// The pool gives a request the connection that comes free first, and goes on connecting by itself.
#[tokio::test]
async fn the_time_of_a_connection_that_another_request_gets_is_not_said() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let port = {
        let (begun, go_on) = (begun.clone(), go_on.clone());
        socket(move |mut connection| {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            async move {
                while is_asked(&mut connection).await {
                    begun.notify_one();
                    go_on.notified().await;
                    connection.write_all(OK.as_bytes()).await.unwrap();
                }
            }
        })
        .await
    };
    let lookup = Gated::with_answers(1);
    let client = client_of(lookup.clone(), AddressPolicy::anywhere());
    let url = format!("http://a.example:{port}/");
    let ask = || {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move { answer(&client, &url).await })
    };
    let first = ask();
    begun.notified().await;
    lookup.asked.notified().await;
    // The second one waits for its look-up when the connection of the first comes free.
    let second = ask();
    lookup.asked.notified().await;
    go_on.notify_one();
    assert!(first.await.unwrap().timings.connect.is_some());
    begun.notified().await;
    lookup.may_answer.add_permits(1);
    go_on.notify_one();
    let timings = second.await.unwrap().timings;
    assert_eq!((timings.dns, timings.connect), (None, None), "{timings:?}");
}

#[tokio::test]
async fn an_answer_is_bounded_and_says_where_it_is_cut() {
    let client = client();
    let ok = format!("http://127.0.0.1:{}/", says(OK).await);
    let no = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
    let no = format!("http://127.0.0.1:{}/", says(no).await);
    for (max, body, is_cut) in [(2, 2, false), (1, 1, true), (0, 0, true)] {
        let success = Request { answer_bytes_max: max, ..request(&ok) };
        let refusal = Request { refusal_bytes_max: max, ..request(&no) };
        for sent in [success, refusal] {
            let answer = client.send(sent).await.unwrap_or_else(|none| panic!("{none:?}"));
            assert_eq!((answer.body.len(), answer.is_cut), (body, is_cut), "{}", answer.status);
        }
    }
}

#[tokio::test]
async fn what_is_no_success_is_an_answer_even_where_it_breaks_off() {
    for (bytes, status) in [
        ("HTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 9\r\n\r\nhalf", 503),
        ("HTTP/1.1 302 x\r\nlocation: http://[::1]/\r\ncontent-length: 9\r\n\r\nhalf", 302),
    ] {
        let url = format!("http://127.0.0.1:{}/", says_and_closes(bytes).await);
        let answer = answer(&client(), &url).await;
        assert_eq!((answer.status.as_u16(), answer.is_cut), (status, true));
        assert_eq!(answer.body, "half");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
}

#[test]
fn classes_are_written_with_hyphens() {
    let written = serde_json::to_string(&FailureClass::AddressRefused).unwrap();
    assert_eq!(written, r#""address-refused""#);
    let read: FailureClass = serde_json::from_str(r#""broken-answer""#).unwrap();
    assert_eq!(read, FailureClass::BrokenAnswer);
}
