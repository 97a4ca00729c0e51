//! One file from one of several servers: resumed where it was left, and kept only with the right checksum.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::Response;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("interrupted; start again to go on from here")]
    Interrupted,
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{path}: is there with MD5 {got}, expected {expected}; remove it to get it again")]
    Foreign { path: PathBuf, got: String, expected: String },
    #[error("{path}: no server has it\n  {}", reasons.join("\n  "))]
    Nowhere { path: PathBuf, reasons: Vec<String> },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Downloaded,
    /// With the right checksum.
    WasThere,
}

/// Hears how many bytes are there, and of how many if that is known; may interrupt.
pub type Watch<'a> = dyn FnMut(u64, Option<u64>) -> ControlFlow<()> + 'a;

/// How a request ended that did not bring the rest of the file.
enum Attempt {
    /// Not worth repeating.
    Refused(String),
    /// The network's fault, or the server's for now.
    Broken(String),
    Failed(Failure),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Attempt {
        Attempt::Failed(failure)
    }
}

/// Requests in a row that may bring nothing new.
const TRIES: u32 = 3;

pub struct Downloader {
    agent: Agent,
    /// Before the second try; twice as long before the third.
    pause: Duration,
}

impl Downloader {
    pub fn new(pause: Duration) -> Downloader {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // Of silence: a slow line is no reason to give up.
            .timeout_per_read(Some(Duration::from_secs(60)));
        Downloader { agent: config.build().into(), pause }
    }

    /// The file `to` with the checksum `md5`, from the first of `urls` that has it. Until it is complete it is named
    /// `<to>.part`, where a later call goes on.
    pub fn get(&self, urls: &[String], md5: &str, to: &Path, watch: &mut Watch) -> Result<Outcome, Failure> {
        if to.is_file() {
            let got = checksum(to)?;
            if got != md5 {
                return Err(Failure::Foreign { path: to.into(), got, expected: md5.into() });
            }
            return Ok(Outcome::WasThere);
        }
        let mut part = to.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mut reasons = Vec::new();
        for url in urls {
            match self.complete(url, md5, &part, watch) {
                Ok(()) => {
                    fs::rename(&part, to).map_err(|e| Failure::Io(to.into(), e))?;
                    return Ok(Outcome::Downloaded);
                }
                Err(Attempt::Refused(reason) | Attempt::Broken(reason)) => {
                    reasons.push(format!("{url}: {reason}"));
                }
                Err(Attempt::Failed(failure)) => return Err(failure),
            }
        }
        Err(Failure::Nowhere { path: to.into(), reasons })
    }

    /// `part` complete and verified, from one server.
    fn complete(&self, url: &str, md5: &str, part: &Path, watch: &mut Watch) -> Result<(), Attempt> {
        let (mut furthest, mut tries, mut pieces, mut again) = (length(part), 0, false, false);
        loop {
            pieces |= length(part) > 0;
            match self.request(url, part, watch) {
                Ok(()) => {
                    let got = checksum(part)?;
                    if got == md5 {
                        return Ok(());
                    }
                    fs::remove_file(part).map_err(|e| Failure::Io(part.into(), e))?;
                    if again || !pieces {
                        return Err(Attempt::Refused(format!("a file of MD5 {got}, expected {md5}")));
                    }
                    // The pieces may have been of different files: once more as a whole.
                    (furthest, pieces, again) = (0, false, true);
                }
                Err(Attempt::Broken(reason)) => {
                    let there = length(part);
                    tries = if there > furthest { 0 } else { tries + 1 };
                    furthest = furthest.max(there);
                    if tries == TRIES {
                        return Err(Attempt::Broken(reason));
                    }
                    sleep(self.pause * tries);
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Appends what is missing of `part`.
    fn request(&self, url: &str, part: &Path, watch: &mut Watch) -> Result<(), Attempt> {
        let there = length(part);
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if there > 0 {
            request = request.header("Range", format!("bytes={there}-"));
        }
        let mut response = request.call().map_err(|e| Attempt::Broken(e.to_string()))?;
        let failed = |e| Failure::Io(part.into(), e);
        let (mut file, mut at, total) = match response.status().as_u16() {
            200 => {
                let total = header(&response, "Content-Length").and_then(|length| length.parse().ok());
                (File::create(part).map_err(failed)?, 0, total)
            }
            206 => {
                let range = header(&response, "Content-Range").unwrap_or_default();
                let Some(rest) = range.strip_prefix(&format!("bytes {there}-")) else {
                    return Err(Attempt::Refused(format!("sent {range:?}, asked for byte {there} on")));
                };
                let total = rest.split_once('/').and_then(|(_, total)| total.parse().ok());
                (OpenOptions::new().append(true).open(part).map_err(failed)?, there, total)
            }
            // Nothing lies beyond what is there; the checksum tells whether that is the file.
            416 if there > 0 => return Ok(()),
            429 | 500.. => return Err(Attempt::Broken(format!("HTTP status {}", response.status()))),
            _ => return Err(Attempt::Refused(format!("HTTP status {}", response.status()))),
        };
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            if watch(at, total).is_break() {
                return Err(Failure::Interrupted.into());
            }
            let read = body.read(&mut buffer).map_err(|e| Attempt::Broken(format!("byte {at}: {e}")))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(failed)?;
            at += read as u64;
        }
        match total {
            Some(total) if at < total => Err(Attempt::Broken(format!("ends at byte {at} of {total}"))),
            _ => Ok(()),
        }
    }
}

fn header<'a, T>(response: &'a Response<T>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |file| file.len())
}

/// The MD5 of a file in hexadecimal digits. It guards against damage, not against attackers; the publishers give no other.
fn checksum(path: &Path) -> Result<String, Failure> {
    let failed = |e| Failure::Io(path.into(), e);
    let mut file = File::open(path).map_err(failed)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => md5.update(&buffer[..read]),
        }
    }
}
