//! The example `fetch` against a server that breaks off, resumes badly, lies or has nothing.

#[path = "../examples/fetch/download.rs"]
mod download;
#[path = "../examples/fetch/sets.rs"]
mod sets;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use download::{Downloader, Failure, Outcome};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use sets::{SETS, Set};
use tempfile::TempDir;

/// What the server does with a request for a file.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Proper,
    /// Sends the whole file whatever part is asked for.
    NoRanges,
    /// Ends after so many bytes of each answer.
    Breaks(usize),
    /// As `Breaks`, and sends the whole file each time.
    BreaksFromTheStart(usize),
    /// Sends another part than it was asked for.
    WrongPart,
    Status(u16),
}

/// Path and range of each request.
type Requests = Mutex<Vec<(String, Option<u64>)>>;

struct Server {
    url: String,
    seen: Arc<Requests>,
}

impl Server {
    /// Of files by path. Ends with the process.
    fn new(files: Vec<(&str, Vec<u8>, Manner)>) -> Server {
        let files: Vec<_> =
            files.into_iter().map(|(path, file, manner)| (path.to_string(), file, manner)).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Who breaks off an answer need not read it.
                let _ = answer(stream.unwrap(), &files, &log);
            }
        });
        Server { url, seen }
    }

    /// Ranges asked for since the last call.
    fn ranges(&self) -> Vec<Option<u64>> {
        self.seen.lock().unwrap().drain(..).map(|(_, from)| from).collect()
    }
}

fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>, Manner)], log: &Requests) -> std::io::Result<()> {
    let (mut path, mut from) = (String::new(), None);
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap().to_string();
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = Some(range.trim_end_matches('-').parse().unwrap());
        }
    }
    log.lock().unwrap().push((path.clone(), from));
    let Some((_, file, manner)) = files.iter().find(|file| file.0 == path) else {
        return stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone");
    };
    let from = from.filter(|_| !matches!(manner, Manner::NoRanges | Manner::BreaksFromTheStart(_)));
    let start = from.unwrap_or(0) as usize;
    let head = match (*manner, from) {
        (Manner::Status(status), _) => format!("HTTP/1.1 {status} Sorry\r\nContent-Length: 0\r\n"),
        (_, Some(_)) if start >= file.len() => "HTTP/1.1 416 Beyond\r\nContent-Length: 0\r\n".to_string(),
        (_, Some(_)) => {
            let said = if *manner == Manner::WrongPart { 1 } else { start };
            let (last, len) = (file.len() - 1, file.len());
            let range = format!("Content-Range: bytes {said}-{last}/{len}");
            format!("HTTP/1.1 206 Part\r\nContent-Length: {}\r\n{range}\r\n", len - start)
        }
        _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", file.len()),
    };
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    let body = if head.contains(" 20") { &file[start..] } else { &[] };
    let sent = match *manner {
        Manner::Breaks(limit) | Manner::BreaksFromTheStart(limit) => limit.min(body.len()),
        _ => body.len(),
    };
    stream.write_all(&body[..sent])?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // A socket closed with unread data would drop what was sent.
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

fn contents() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn downloader() -> Downloader {
    Downloader::new(Duration::from_millis(1))
}

/// Gets `file` of `servers` into a folder, silently.
fn get(servers: &[&Server], dir: &TempDir) -> Result<Outcome, Failure> {
    let urls: Vec<String> = servers.iter().map(|server| format!("{}/file", server.url)).collect();
    let to = dir.path().join("file");
    downloader().get(&urls, &md5(&contents()), &to, &mut |_, _| ControlFlow::Continue(()))
}

fn server(manner: Manner) -> Server {
    Server::new(vec![("/file", contents(), manner)])
}

fn complete(dir: &TempDir) -> bool {
    fs::read(dir.path().join("file")).unwrap() == contents() && !dir.path().join("file.part").exists()
}

/// Why each server was given up.
fn reasons(result: Result<Outcome, Failure>) -> Vec<String> {
    match result.unwrap_err() {
        Failure::Nowhere { reasons, .. } => reasons,
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_comes_once_and_is_verified() {
    let (dir, server) = (TempDir::new().unwrap(), server(Manner::Proper));
    assert_eq!(get(&[&server], &dir).unwrap(), Outcome::Downloaded);
    assert!(complete(&dir) && server.ranges() == [None]);
    assert_eq!(get(&[&server], &dir).unwrap(), Outcome::WasThere);
    assert!(server.ranges().is_empty());
    // Someone else's file is left alone.
    fs::write(dir.path().join("file"), "mine").unwrap();
    let refused = get(&[&server], &dir).unwrap_err();
    assert!(matches!(&refused, Failure::Foreign { got, .. } if *got == md5(b"mine")), "{refused}");
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"mine");
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    let (dir, server) = (TempDir::new().unwrap(), server(Manner::Proper));
    let url = [format!("{}/file", server.url)];
    let (file, part) = (dir.path().join("file"), dir.path().join("file.part"));
    let mut heard = Vec::new();
    let mut until = |done, total| {
        heard.push((done, total));
        if done > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = downloader().get(&url, &md5(&contents()), &file, &mut until).unwrap_err();
    assert!(matches!(stopped, Failure::Interrupted));
    assert_eq!(heard[0], (0, Some(300_000)));
    let there = fs::read(&part).unwrap();
    assert!(there.len() > 100_000 && contents().starts_with(&there) && !file.exists());
    let mut first = None;
    let outcome = downloader().get(&url, &md5(&contents()), &file, &mut |done, total| {
        first.get_or_insert((done, total));
        ControlFlow::Continue(())
    });
    assert_eq!((outcome.unwrap(), first), (Outcome::Downloaded, Some((there.len() as u64, Some(300_000)))));
    assert!(complete(&dir));
    assert_eq!(server.ranges(), [None, Some(there.len() as u64)]);
}

#[test]
fn a_truncated_answer_is_completed() {
    let (dir, server) = (TempDir::new().unwrap(), server(Manner::Breaks(120_000)));
    assert_eq!(get(&[&server], &dir).unwrap(), Outcome::Downloaded);
    assert!(complete(&dir));
    assert_eq!(server.ranges(), [None, Some(120_000), Some(240_000)]);
}

#[test]
fn a_server_that_never_sends_the_rest_is_given_up() {
    let (dir, silent) = (TempDir::new().unwrap(), server(Manner::BreaksFromTheStart(120_000)));
    let reasons = reasons(get(&[&silent], &dir));
    assert!(reasons.len() == 1 && reasons[0].contains(&silent.url), "{reasons:?}");
    // The first try brought something; three more did not.
    assert_eq!(silent.ranges(), [None, Some(120_000), Some(120_000), Some(120_000)]);
    // Another server goes on from there.
    let proper = server(Manner::Proper);
    assert_eq!(get(&[&proper], &dir).unwrap(), Outcome::Downloaded);
    assert!(complete(&dir) && proper.ranges() == [Some(120_000)]);
}

#[test]
fn a_server_without_ranges_sends_the_whole_again() {
    let (dir, server) = (TempDir::new().unwrap(), server(Manner::NoRanges));
    fs::write(dir.path().join("file.part"), &contents()[..5000]).unwrap();
    assert_eq!(get(&[&server], &dir).unwrap(), Outcome::Downloaded);
    assert!(complete(&dir) && server.ranges() == [Some(5000)]);
}

#[test]
fn a_damaged_or_overlong_part_is_thrown_away() {
    let server = server(Manner::Proper);
    for (part, ranges) in [
        (vec![1; 5000], vec![Some(5000), None]),
        ([contents(), vec![0]].concat(), vec![Some(300_001), None]),
        (contents(), vec![Some(300_000)]),
    ] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("file.part"), part).unwrap();
        assert_eq!(get(&[&server], &dir).unwrap(), Outcome::Downloaded);
        assert!(complete(&dir));
        assert_eq!(server.ranges(), ranges);
    }
}

#[test]
fn a_wrong_file_is_never_kept() {
    let dir = TempDir::new().unwrap();
    let wrong = Server::new(vec![("/file", b"another file".to_vec(), Manner::Proper)]);
    let reasons = reasons(get(&[&wrong], &dir));
    let expected = [md5(b"another file"), md5(&contents())];
    assert!(expected.iter().all(|md5| reasons[0].contains(md5)), "{reasons:?}");
    assert_eq!(wrong.ranges(), [None]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // As pieces it is tried once more as a whole.
    let wrong = Server::new(vec![("/file", vec![7; 300_000], Manner::Breaks(200_000))]);
    assert!(matches!(get(&[&wrong], &dir), Err(Failure::Nowhere { .. })));
    assert_eq!(wrong.ranges(), [None, Some(200_000), None, Some(200_000)]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_next_server_is_asked_and_all_are_named() {
    let dir = TempDir::new().unwrap();
    let nothing = Server::new(vec![]);
    let (busy, wrong, good) =
        (server(Manner::Status(503)), server(Manner::WrongPart), server(Manner::Proper));
    // A port that nobody listens at any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Server { url: format!("http://{port}"), seen: Arc::default() };
    fs::write(dir.path().join("file.part"), &contents()[..50]).unwrap();
    let reasons = reasons(get(&[&nothing, &busy, &wrong, &gone], &dir));
    for (reason, (server, part)) in
        reasons.iter().zip([(&nothing, "404"), (&busy, "503"), (&wrong, "bytes 1-"), (&gone, "")])
    {
        assert!(reason.starts_with(&server.url) && reason.contains(part), "{reason}");
    }
    assert_eq!(reasons.len(), 4);
    // What is not there is asked for once, what may come back more often.
    assert_eq!((nothing.ranges().len(), busy.ranges().len(), wrong.ranges().len()), (1, 3, 1));
    assert_eq!(get(&[&nothing, &good], &dir).unwrap(), Outcome::Downloaded);
    assert!(complete(&dir));
}

/// Fetches a set, and what was told.
fn fetch(set: &Set, dir: &Path, mirror: &str) -> Result<Vec<(String, Outcome)>, Failure> {
    let mut told = Vec::new();
    let mut tell = |file: &str, outcome| told.push((file.to_string(), outcome));
    set.fetch(&downloader(), dir, Some(mirror), &mut tell, &mut |_, _| ControlFlow::Continue(()))?;
    Ok(told)
}

#[test]
fn an_archive_is_unpacked_whole_or_not_at_all() {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, contents) in [("inner/one.bin", b"1".as_slice()), ("inner/two.bin", b"22")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, contents).unwrap();
    }
    let archive = tar.into_inner().unwrap().finish().unwrap();
    let sum: &'static str = md5(&archive).leak();
    let set = |unpacked| Set {
        name: "packed",
        folder: "some",
        about: "",
        mirrors: &[],
        files: vec![("packed.tar.gz", sum)].leak(),
        unpacked: Some(unpacked),
    };
    let server = Server::new(vec![("/base/some/packed.tar.gz", archive, Manner::Proper)]);
    let (dir, mirror) = (TempDir::new().unwrap(), format!("{}/base/", server.url));
    let failed = fetch(&set("other"), dir.path(), &mirror).unwrap_err();
    assert!(matches!(&failed, Failure::Io(path, _) if path.ends_with("some/packed.tar.gz")), "{failed}");
    let names = || {
        let entries = fs::read_dir(dir.path().join("some")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["packed.tar.gz"]);
    let told = fetch(&set("inner"), dir.path(), &mirror).unwrap();
    assert_eq!(told, [("packed.tar.gz".into(), Outcome::WasThere)]);
    assert_eq!(names(), ["inner"]);
    assert_eq!(fs::read(dir.path().join("some/inner/two.bin")).unwrap(), b"22");
    assert_eq!(fetch(&set("inner"), dir.path(), &mirror).unwrap(), [("inner".into(), Outcome::WasThere)]);
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn sets_are_told_apart_and_complete() {
    for set in &SETS {
        assert!(!set.about.is_empty());
        assert!(set.mirrors.iter().all(|url| url.starts_with("http") && !url.ends_with('/')), "{}", set.name);
        for (name, md5) in set.files {
            assert!(md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
        }
    }
    let sums: Vec<_> = SETS.iter().flat_map(|set| set.files).collect();
    // All differ but SVHN's test file, which two of the sets have.
    let different: std::collections::HashSet<_> = sums.iter().map(|file| file.1).collect();
    assert_eq!((sums.len(), different.len()), (13, 12));
}

#[test]
fn real_mnist_comes_over_http_and_can_be_read() {
    let folder = std::env::var_os("TIEBREAK_MNIST").map(std::path::PathBuf::from);
    let shared = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mnist");
    let folder = folder.unwrap_or_else(shared);
    if !folder.is_dir() {
        eprintln!("skipped: no folder {}; set TIEBREAK_MNIST", folder.display());
        return;
    }
    let mnist = &SETS[0];
    let paths: Vec<String> = mnist.files.iter().map(|(name, _)| format!("/mnist/{name}")).collect();
    let files = mnist.files.iter().zip(&paths).map(|((name, _), path)| {
        let file = fs::read(folder.join(name)).unwrap();
        (path.as_str(), file, Manner::Breaks(4_000_000))
    });
    let server = Server::new(files.collect());
    let dir = TempDir::new().unwrap();
    let told = fetch(mnist, dir.path(), &server.url).unwrap();
    assert!(told.len() == 4 && told.iter().all(|(_, outcome)| *outcome == Outcome::Downloaded));
    let data = tiebreak::data::load(dir.path().join("mnist"), 28).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (60_000, 10_000));
}
