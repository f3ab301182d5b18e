//! Every reader of foreign bytes in the core, and that of abuse reports, driven by bytes.
//!
//! Model: a [`Drive`] is a way to bring bytes before a reader: as one frame, as many, as what two sides say in a connection on a
//! port that is listened to, or as a report. It panics when something is wrong, and for nothing else. Fuzzing (`fuzz/`) makes up bytes for it without end;
//! what that began with and what it ever found lie in `fuzz/seeds` and `fuzz/crashes` and are run by an ordinary test.
//!
//! What must hold beyond "nothing panics": a frame's headers alone tell what the whole tells; a replay of a record, which holds
//! no payload, gives what ran live; room is bounded. Left out: readers of files that only operators write.

#![forbid(unsafe_code)]

mod complaints;
mod dialogue;
mod frames;

use std::path::PathBuf;

/// A way to bring bytes before a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// One frame before the packet parser.
    Packet,
    /// Frames of a tenant's port, one after the other, through an engine.
    Frames,
    /// A connection on a mail port.
    Smtp,
    /// A connection to a web server, plain.
    Http,
    /// A connection to a web server that speaks TLS.
    Tls,
    /// Datagrams to a web server.
    Quic,
    /// A connection to one of the ports that people log in at.
    Login,
    /// An abuse report.
    Complaints,
}

impl Drive {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Packet,
        Self::Frames,
        Self::Smtp,
        Self::Http,
        Self::Tls,
        Self::Quic,
        Self::Login,
        Self::Complaints,
    ];

    /// Its name: that of its target and of its folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Frames => "frames",
            Self::Smtp => "smtp",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Login => "login",
            Self::Complaints => "complaints",
        }
    }

    /// Brings `bytes` before its reader.
    ///
    /// # Panics
    /// When something does not hold: that is what it is for.
    pub fn run(self, bytes: &[u8]) {
        match self {
            Self::Packet => frames::parse(bytes),
            Self::Frames => frames::play(bytes),
            Self::Smtp => dialogue::play(&dialogue::MAIL, bytes),
            Self::Http => dialogue::play(&dialogue::WEB, bytes),
            Self::Tls => dialogue::play(&dialogue::SEALED, bytes),
            Self::Quic => dialogue::play(&dialogue::QUIC, bytes),
            Self::Login => dialogue::play(&dialogue::LOGIN, bytes),
            Self::Complaints => complaints::read(bytes),
        }
    }

    /// What it began with, and what it ever found: every file of its folders in `fuzz/`, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn cases(self) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"));
        let mut cases = Vec::new();
        for kind in ["seeds", "crashes"] {
            let folder = root.join(kind).join(self.name());
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let path = entry?.path();
                // A folder without findings is kept by a file without a name.
                if path.file_name().is_some_and(|name| name == ".gitkeep") {
                    continue;
                }
                cases.push((path.clone(), std::fs::read(path)?));
            }
        }
        cases.sort();
        Ok(cases)
    }
}
