use super::super::hello::tests::client_hello;
use super::super::sites::Sites;
use super::*;
use proptest::prelude::*;
use reeve_policy::language::thresholds::{ApiBurst, Endpoint};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn keys_are_those_of_the_standards() {
    let id = Id::new(&bytes("8394c8f03e515708")).unwrap();
    for (version, key, iv, mask) in [
        // RFC 9001, appendix A.1; RFC 9369, appendix A.1.
        (
            &VERSIONS[0],
            "1f369613dd76d5467730efcbe3b1a22d",
            "fa044b2f42a3fd3b46fb255c",
            "9f50449e04a0e810283a1e9933adedd2",
        ),
        (
            &VERSIONS[1],
            "8b1a0bc121284290a29e0971b5cd045d",
            "91f73e2351d8fa91660e909f",
            "45b95e15235d6f45a6b19cbcb0294ba9",
        ),
    ] {
        let keys = Keys::derive(version, &id);
        assert_eq!((&keys.key[..], &keys.iv[..]), (&bytes(key)[..], &bytes(iv)[..]));
        assert_eq!(keys.mask[..], bytes(mask)[..]);
    }
}

/// A client's first datagram with these frames, sealed but for the tag.
fn initial(version: usize, to: &[u8], token: &[u8], number: u32, frames: &[u8]) -> Vec<u8> {
    let version = &VERSIONS[version];
    let keys = Keys::derive(version, &Id::new(to).unwrap());
    let frames = [frames, &vec![0; 1_150_usize.saturating_sub(frames.len())]].concat();
    let mut data = vec![0xc0 | version.initial << 4 | 3];
    data.extend(version.number.to_be_bytes());
    data.push(to.len() as u8);
    data.extend(to);
    data.extend([4, 1, 2, 3, 4]);
    data.push(token.len() as u8);
    data.extend(token);
    data.extend((0x4000 | (4 + frames.len() + 16) as u16).to_be_bytes());
    let number_at = data.len();
    data.extend(number.to_be_bytes());
    let begin = data.len();
    data.extend(&frames);
    data.extend([0; 16]);
    // What is taken out of its protection twice is in it again: the first time the mask stands for what is not yet there.
    let mut block = [0; 16];
    block[..12].copy_from_slice(&keys.iv);
    block[8..12].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    let cipher = Aes128::new(&keys.key.into());
    for (part, counter) in data[begin..begin + frames.len()].chunks_mut(16).zip(2_u32..) {
        block[12..].copy_from_slice(&counter.to_be_bytes());
        let mut stream = block;
        cipher.encrypt_block((&mut stream).into());
        part.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
    }
    let mut sample: [u8; 16] = data[number_at + 4..number_at + 20].try_into().unwrap();
    Aes128::new(&keys.mask.into()).encrypt_block((&mut sample).into());
    data[0] ^= sample[0] & 0x0f;
    data[number_at..number_at + 4].iter_mut().zip(&sample[1..]).for_each(|(byte, mask)| *byte ^= mask);
    data
}

/// A frame with a piece of a hello.
fn piece(hello: &[u8], from: usize, to: usize) -> Vec<u8> {
    let number = |number: usize| (0x8000_0000 | number as u32).to_be_bytes();
    [&[6][..], &number(from), &number(to - from), &hello[from..to]].concat()
}

fn sites() -> Sites {
    Sites::new(&[Endpoint {
        name: "api".parse().unwrap(),
        kind: Default::default(),
        addresses: Vec::new(),
        hosts: vec!["api.example".parse().unwrap()],
        ports: vec![443],
        paths: Vec::new(),
        numbers: ApiBurst::default(),
    }])
}

/// Plays datagrams (`true` from the client); what is told, and whether the connection is nobody's.
fn play(said: &[(bool, Vec<u8>)]) -> (Vec<Call>, bool) {
    let (sites, mut told) = (sites(), Vec::new());
    let site = Site { sites: &sites, remote: ([20, 0, 0, 1].into(), 443) };
    let mut quic = Quic::new(sites.look(site.remote), &said[0].1);
    for (from_client, data) in said {
        quic.read(*from_client, (data, data.len() as u32), site, || true, &mut |place, call| {
            assert_eq!(place, 0);
            told.push(call);
        });
    }
    quic.ended(|_, call| told.push(call));
    (told, quic.is_nobodys())
}

fn answer() -> Vec<u8> {
    [&[0xc0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 2, 9, 9][..], &[0; 1_187]].concat()
}

#[test]
fn a_hello_is_read_however_it_is_spread() {
    let hello = client_hello(Some(b"api.example"), &[b"h3"], 1_700);
    let other = client_hello(Some(b"www.example"), &[b"h3"], 20);
    for version in [0, 1] {
        let one = |token: &[u8], number, frames: &[Vec<u8>]| {
            (true, initial(version, b"abcdefgh", token, number, &frames.concat()))
        };
        let halves = [
            // Shuffled, overlapping, among pings and acknowledgments.
            one(
                b"",
                0,
                &[piece(&hello, 900, 1_300), vec![1, 1], piece(&hello, 0, 10), piece(&hello, 5, 700)],
            ),
            one(
                b"token",
                1,
                &[vec![2, 0, 0, 0, 0], piece(&hello, 1_300, hello.len()), piece(&hello, 600, 1_000)],
            ),
        ];
        let all = [halves[1].clone(), halves[0].clone(), (false, answer())];
        assert_eq!(play(&all), (vec![Call::Opened], false), "version {version}");
        assert_eq!(play(&halves), (vec![], false));
        // Of a packet that the capture cut off the name stands in what is left, or is not known.
        let cut = |len| (true, one(b"", 0, &[piece(&hello, 0, 900)]).1[..len].to_vec());
        assert_eq!(play(&[cut(250), (false, answer())]), (vec![Call::Opened], false));
        assert_eq!(play(&[cut(110), (false, answer())]), (vec![], false));
        assert!(play(&[one(b"", 0, &[piece(&other, 0, other.len())])]).1);
        assert!(opens(&halves[0].1, 1_200) && !opens(&halves[0].1, 1_199) && !opens(&answer()[..5], 1_200));
    }
}

#[test]
fn behind_a_retry_keys_are_others() {
    let hello = client_hello(Some(b"api.example"), &[b"h3"], 20);
    let frames = piece(&hello, 0, hello.len());
    let half = piece(&hello, 0, 50);
    let retry = vec![0xf0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 3, 7, 7, 7, 1, 1];
    let again = initial(0, &[7, 7, 7], b"token", 1, &frames);
    let said =
        [(true, initial(0, b"abcdefgh", b"", 0, &half)), (false, retry), (true, again), (false, answer())];
    assert_eq!(play(&said), (vec![Call::Opened], false));
}

#[test]
fn turns_are_calls_and_upkeep_is_not() {
    let hello = client_hello(Some(b"api.example"), &[b"h3"], 20);
    let short = |len: usize| vec![0x41; len];
    let (up, down) = (|len| (true, short(len)), |len| (false, short(len)));
    let begin = [(true, initial(0, b"abcdefgh", b"", 0, &piece(&hello, 0, hello.len()))), (false, answer())];
    let check = |said: &[(bool, Vec<u8>)], expect: usize| {
        let (told, _) = play(&[&begin[..], said].concat());
        let counted =
            told.iter().filter(|call| matches!(call, Call::Opened | Call::Began { counts: true })).count();
        assert_eq!(counted, expect, "{told:?}");
    };
    // A request and what the client says of itself; then a download, its acknowledgments and a probe of the path.
    let opening = [up(300), down(1_200), up(120), down(600)];
    check(&opening, 1);
    let download: Vec<_> = (0..50).flat_map(|_| [down(1_200), down(1_200), up(45)]).collect();
    check(&[&opening[..], &download, &[up(1_300), down(45)]].concat(), 1);
    let upload: Vec<_> = (0..50).flat_map(|_| [up(1_200), up(1_200), down(45)]).collect();
    check(&[&opening[..], &upload].concat(), 1);
    let calls: Vec<_> = (0..10).flat_map(|_| [up(200), down(400), up(40)]).collect();
    check(&[&opening[..], &calls].concat(), 11);
}

#[test]
fn another_connection_in_the_same_flow_is_told() {
    let first = initial(0, b"abcdefgh", b"", 0, &[1]);
    let mut quic = Quic::new(Look::Certain(0), &first);
    let sites = sites();
    let site = Site { sites: &sites, remote: ([20, 0, 0, 1].into(), 443) };
    quic.read(false, (&answer(), 1_200), site, || true, &mut |_, _| ());
    let is_another = |to: &[u8]| quic.is_another(&initial(0, to, b"", 1, &[1]), 1_200);
    assert!(!is_another(b"abcdefgh") && !is_another(&[9, 9]) && is_another(b"12345678"));
}

proptest! {
    #[test]
    fn any_bytes_are_read(
        datagrams in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..100)), 1..20),
        frames in prop::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..60,
        byte in any::<u8>(),
    ) {
        play(&datagrams);
        let mut data = initial(0, b"abcdefgh", b"", 0, &frames);
        play(&[(true, data.clone())]);
        data[at] = byte;
        for cut in [at, data.len()] {
            play(&[(true, data[..cut].to_vec()), (true, data.clone())]);
        }
    }
}
