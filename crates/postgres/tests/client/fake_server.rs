use basekeep_postgres::{Client, ConnectOptions, Environment, Error, ErrorClass};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    message
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Takes one session without a password and answers its first command with these bytes, then closes.
async fn session_with(answer: Vec<u8>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = stream.read_u32().await.unwrap() as usize;
        stream.read_exact(&mut vec![0; length - 4]).await.unwrap();
        let greeting = [
            message(b'R', &[0; 4]),
            message(b'S', b"server_version\x0015.1\0"),
            message(b'K', &[0; 8]),
            ready(),
        ];
        stream.write_all(&greeting.concat()).await.unwrap();
        if stream.read_u8().await.is_ok() {
            let length = stream.read_u32().await.unwrap() as usize;
            stream.read_exact(&mut vec![0; length - 4]).await.unwrap();
            let _ = stream.write_all(&answer).await;
        }
    };
    tokio::spawn(server);
    let conninfo = format!("host=127.0.0.1 port={port} user=u dbname=d sslmode=disable");
    let options = ConnectOptions::resolve(&conninfo, &Environment::default()).unwrap();
    let client = Client::connect(&options, "test").await.unwrap();
    assert_eq!(client.server_version(), 150_001);
    client
}

async fn copy(answer: Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut client = session_with(answer).await;
    let mut copy = client.copy_out("COPY t TO STDOUT").await?;
    let mut out = Vec::new();
    while copy.read(&mut out).await? {}
    Ok(out)
}

fn copy_messages(rows: &str) -> Vec<Vec<u8>> {
    vec![
        message(b'H', &[0, 0, 1, 0, 0]),
        message(b'd', b"first\n"),
        message(b'N', b"SNOTICE\0Mhello\0\0"),
        message(b'd', b"sec"),
        message(b'd', b"ond\nthird\n"),
        message(b'd', b""),
        message(b'c', b""),
        message(b'C', format!("COPY {rows}\0").as_bytes()),
        ready(),
    ]
}

#[tokio::test]
async fn a_copy_that_is_cut_anywhere_is_an_error() {
    let whole = copy_messages("3").concat();
    assert_eq!(copy(whole.clone()).await.unwrap(), b"first\nsecond\nthird\n");
    for cut in 0..whole.len() {
        let error = copy(whole[..cut].to_vec()).await.expect_err(&format!("cut at {cut}"));
        assert_eq!(error.class(), ErrorClass::LostConnection, "cut at {cut}: {error}");
    }
}

#[tokio::test]
async fn a_copy_with_a_message_missing_is_an_error() {
    let all = copy_messages("3");
    // The notice, the empty frame and half a row are not missed by anything that counts.
    for left_out in [0, 1, 4, 6, 7, 8] {
        let mut messages = all.clone();
        messages.remove(left_out);
        assert!(copy(messages.concat()).await.is_err(), "without message {left_out}");
    }
    for rows in ["2", "4"] {
        let error = copy(copy_messages(rows).concat()).await.unwrap_err();
        assert!(error.to_string().contains("3 have arrived"), "{error}");
    }
}

#[tokio::test]
async fn lengths_from_the_wire_are_not_believed() {
    let header = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    let start = message(b'H', &[0, 0, 0]);
    for bad in [
        header(b'd', 3),
        header(b'd', 0),
        header(b'Z', 0x7fff_ffff),
        header(b'E', u32::MAX),
        header(b'd', u32::MAX),
        header(b'?', 1 << 20),
    ] {
        let error = copy([start.clone(), bad.clone()].concat()).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{bad:?}: {error}");
    }
    let unknown = copy([start, message(b'?', b"")].concat()).await.unwrap_err();
    assert!(matches!(unknown, Error::Protocol(_)));
}

#[tokio::test]
async fn an_announced_gigabyte_takes_no_memory() {
    let start =
        [message(b'H', &[0, 0, 0]), vec![b'd'], 0x7fff_fff0_u32.to_be_bytes().to_vec(), vec![b'x'; 1000]]
            .concat();
    let mut client = session_with(start).await;
    let mut copy = client.copy_out("COPY t TO STDOUT").await.unwrap();
    let mut out = Vec::new();
    let error = loop {
        out.clear();
        if let Err(error) = copy.read(&mut out).await {
            break error;
        }
    };
    assert_eq!(error.class(), ErrorClass::LostConnection);
    assert!(out.capacity() < 1 << 20);
}

#[tokio::test]
async fn something_that_is_not_postgres_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n").await;
        }
    });
    for mode in ["disable", "prefer", "require"] {
        let conninfo = format!("host=127.0.0.1 port={port} user=u sslmode={mode}");
        let options = ConnectOptions::resolve(&conninfo, &Environment::default()).unwrap();
        let error = Client::connect(&options, "test").await.unwrap_err();
        assert!(matches!(error, Error::Protocol(_) | Error::Tls { .. }), "{mode}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let conninfo = format!("host=127.0.0.1 port={port} user=u sslmode=disable connect_timeout=1");
    let options = ConnectOptions::resolve(&conninfo, &Environment::default()).unwrap();
    let error = Client::connect(&options, "test").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Unreachable);
    assert!(!error.hints().is_empty());
}

#[tokio::test]
async fn a_copy_in_without_its_last_words_is_an_error() {
    let start = message(b'G', &[0, 0, 0]);
    let end = [message(b'C', b"COPY 1\0"), ready()].concat();
    for cut in 0..end.len() {
        let mut client = session_with([start.clone(), end[..cut].to_vec()].concat()).await;
        let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
        let result = match copy.write(b"1\n").await {
            Ok(()) => copy.finish().await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(result.expect_err(&format!("cut at {cut}")).class(), ErrorClass::LostConnection);
    }
}

#[tokio::test]
async fn no_answer_makes_the_client_panic_or_hang() {
    let row = [&[0, 2][..], &3_i32.to_be_bytes(), b"abc", &(-1_i32).to_be_bytes()].concat();
    let column = [&b"c\0"[..], &[0; 18]].concat();
    let columns = [&[0, 2][..], &column, &column].concat();
    let result =
        [message(b'T', &columns), message(b'D', &row), message(b'C', b"SELECT 1\0"), ready()].concat();
    for seed in 0..400_u64 {
        let copying = seed % 2 == 0;
        let mut answer = if copying { copy_messages("3").concat() } else { result.clone() };
        // A fixed walk over places and values, so that a failure can be repeated.
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        for _ in 0..=seed % 5 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % answer.len();
            answer[at] = (state >> 20) as u8;
        }
        let work = async {
            if copying {
                let _ = copy(answer).await;
            } else {
                let _ = session_with(answer).await.query("SELECT").await;
            }
        };
        let limit = std::time::Duration::from_secs(10);
        assert!(tokio::time::timeout(limit, work).await.is_ok(), "seed {seed} hangs");
    }
}
