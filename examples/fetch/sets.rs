//! Which data sets there are, where, and how a folder gets one.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use flate2::read::GzDecoder;

use super::download::{Downloader, Failure, Outcome, Watch};

/// A data set as its publisher offers it.
pub struct Set {
    pub name: &'static str,
    /// Where it goes, below the folder of all data sets.
    pub folder: &'static str,
    pub about: &'static str,
    /// Servers with the files; the later ones stand in for the first.
    pub mirrors: &'static [&'static str],
    /// Names and MD5 sums.
    pub files: &'static [(&'static str, &'static str)],
    /// The folder that a `.tar.gz` holds; where it is there, nothing is missing.
    pub unpacked: Option<&'static str>,
}

const SVHN: &[&str] = &["http://ufldl.stanford.edu/housenumbers"];
const SVHN_TEST: (&str, &str) = ("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3");

pub const SETS: [Set; 5] = [
    Set {
        name: "mnist",
        folder: "mnist",
        about: "MNIST, 12 MB",
        mirrors: &[
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ],
        files: &[
            ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
        ],
        unpacked: None,
    },
    Set {
        name: "fashion-mnist",
        folder: "fashion-mnist",
        about: "Fashion-MNIST, 31 MB",
        mirrors: &[
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        ],
        files: &[
            ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
            ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
            ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
        ],
        unpacked: None,
    },
    Set {
        name: "cifar-10",
        folder: "cifar-10",
        about: "CIFAR-10, binary version, 170 MB",
        mirrors: &["https://www.cs.toronto.edu/~kriz"],
        files: &[("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d13530")],
        unpacked: Some("cifar-10-batches-bin"),
    },
    Set {
        name: "svhn",
        folder: "svhn",
        about: "SVHN, its training and test files, 250 MB",
        mirrors: SVHN,
        files: &[("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"), SVHN_TEST],
        unpacked: None,
    },
    Set {
        name: "svhn-extra",
        folder: "svhn",
        about: "SVHN, its extra (on which the paper trains) and test files, 1.4 GB",
        mirrors: SVHN,
        files: &[("extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7"), SVHN_TEST],
        unpacked: None,
    },
];

impl Set {
    /// All files, in `<dir>/<folder>`. `mirror` replaces the servers: it has `<mirror>/<folder>/<file>`. `tell` hears of
    /// each file that is done, `watch` of the bytes of one.
    pub fn fetch(
        &self,
        downloader: &Downloader,
        dir: &Path,
        mirror: Option<&str>,
        tell: &mut dyn FnMut(&str, Outcome),
        watch: &mut Watch,
    ) -> Result<(), Failure> {
        let folder = dir.join(self.folder);
        if let Some(unpacked) = self.unpacked.filter(|unpacked| folder.join(unpacked).is_dir()) {
            tell(unpacked, Outcome::WasThere);
            return Ok(());
        }
        fs::create_dir_all(&folder).map_err(|e| Failure::Io(folder.clone(), e))?;
        for (name, md5) in self.files {
            let url = |server: &str| format!("{}/{name}", server.trim_end_matches('/'));
            let urls: Vec<String> = match mirror {
                Some(mirror) => vec![url(&format!("{}/{}", mirror.trim_end_matches('/'), self.folder))],
                None => self.mirrors.iter().map(|server| url(server)).collect(),
            };
            let file = folder.join(name);
            let outcome = downloader.get(&urls, md5, &file, watch)?;
            if let Some(unpacked) = self.unpacked {
                unpack(&file, &folder, unpacked).map_err(|e| Failure::Io(file, e))?;
            }
            tell(name, outcome);
        }
        Ok(())
    }
}

/// Moves the folder `name` of a `.tar.gz` into `to`, whole or not at all, and removes the archive.
fn unpack(archive: &Path, to: &Path, name: &str) -> io::Result<()> {
    let half = tempfile::Builder::new().prefix(".unpacking").tempdir_in(to)?;
    tar::Archive::new(GzDecoder::new(File::open(archive)?)).unpack(&half)?;
    fs::rename(half.path().join(name), to.join(name))?;
    fs::remove_file(archive)
}
