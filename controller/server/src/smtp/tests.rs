use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const HURRY: Patience = Patience {
    silence: Duration::from_millis(400),
    mail: Duration::from_millis(900),
    session: Duration::from_millis(1_500),
    farewell: Duration::from_millis(300),
};

/// A port that counts what it takes.
async fn serve(patience: Patience) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
    let smtp = Smtp::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, taken) = (smtp.address(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&taken);
    let sink = move |_| {
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(1, Ordering::SeqCst);
            Outcome::Stored
        }
    };
    let rules = Rules { recipients: vec!["abuse@example.net".into()], kept: 1 << 20 };
    let mut serving = JoinSet::new();
    serving.spawn(smtp.serve_with(rules, Metrics::default(), sink, patience));
    (address, taken, serving)
}

/// All that is said until the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await.unwrap().unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_is_told_so_and_goes() {
    let (address, taken, _serving) = serve(HURRY).await;
    // One that says nothing, and one that stops in a mail.
    let opened = "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<abuse@example.net>\r\nDATA\r\n";
    for says in ["", "EHL", opened] {
        let since = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(says.as_bytes()).await.unwrap();
        assert!(rest(&mut stream).await.ends_with("421 4.4.2 that took too long\r\n"), "{says:?}");
        assert!(since.elapsed() >= HURRY.silence && since.elapsed() < 20 * HURRY.silence, "{says:?}");
    }
    // One whose mail drips, one whose commands do, and never for long.
    for (says, drop, most) in [(opened, "x", HURRY.mail), ("EHLO a\r\n", "NOOP\r\n", HURRY.session)] {
        let since = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(says.as_bytes()).await.unwrap();
        let (mut reads, mut writes) = stream.into_split();
        let dripping = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if writes.write_all(drop.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut said = String::new();
        timeout(Duration::from_secs(20), reads.read_to_string(&mut said)).await.unwrap().unwrap();
        dripping.abort();
        assert!(said.ends_with("421 4.4.2 that took too long\r\n"), "{said}");
        assert!(since.elapsed() >= most, "{:?}", since.elapsed());
    }
    assert_eq!(taken.load(Ordering::SeqCst), 0, "half a mail is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_network_has_so_many_sessions_and_what_was_refused_is_heard() {
    let (address, taken, _serving) = serve(PATIENCE).await;
    let mut held = Vec::new();
    for _ in 0..SESSIONS_OF_NETWORK {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut greeting = [0; 4];
        timeout(Duration::from_secs(10), stream.read_exact(&mut greeting)).await.unwrap().unwrap();
        assert_eq!(&greeting, b"220 ");
        held.push(stream);
    }
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(rest(&mut stream).await, "421 4.3.2 too many sessions; try again\r\n");
    }
    // A place that is left is free at once, or nearly.
    drop(held.pop());
    let since = Instant::now();
    let mut stream = loop {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut greeting = [0; 4];
        timeout(Duration::from_secs(10), stream.read_exact(&mut greeting)).await.unwrap().unwrap();
        if &greeting == b"220 " {
            break stream;
        }
        assert!(since.elapsed() < Duration::from_secs(10));
    };
    // Much more than is looked at was sent behind what is refused: the answer comes all the same.
    let garbage = "x".repeat(600 << 10);
    stream.write_all(format!("NOOP\n{garbage}").as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.contains("521 5.5.2"));
    drop(held);
    assert_eq!(taken.load(Ordering::SeqCst), 0);
}

#[test]
fn places_are_of_networks_and_in_all_so_many() {
    let places = Places::default();
    let of = |network: u8| {
        (0..).map_while(|host: u8| places.enter([192, 0, network, host].into())).collect::<Vec<_>>()
    };
    let (one, two, three) = (of(1), of(2), of(3));
    assert_eq!((one.len(), two.len(), three.len()), (24, 24, 16));
    drop(two);
    assert_eq!((of(2).len(), of(1).len()), (24, 0));
    drop((one, three));
    assert!(places.0.lock().unwrap().is_empty());
}
