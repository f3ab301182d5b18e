//! TLS records, counted: how many bytes of application data went by (RFC 8446, section 5.1).
//!
//! Nothing is decrypted. In TLS 1.3 the end of the handshake travels as application data too; it is short.

use super::order::Piece;

/// The content type of application data.
const APPLICATION_DATA: u8 = 23;
/// Content types that a record may have: change of cipher, alert, handshake, application data, heartbeat.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=24;
/// A record's header: its content type, version and length.
pub(super) const HEADER_LEN: u32 = 5;
const HEADER: usize = HEADER_LEN as usize;

/// Whether a record may begin here.
pub(super) fn is_record(data: &[u8]) -> bool {
    matches!(data, [kind, 3, ..] if CONTENT_TYPES.contains(kind))
}

/// Where one direction stands among its records.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the record at hand that are still to come.
    left: u32,
    is_application: bool,
    is_lost: bool,
}

impl Records {
    /// Takes what comes next; how many bytes of it were application data.
    #[cfg(test)]
    pub fn take(&mut self, piece: Piece<'_>) -> u32 {
        self.take_each(piece, |_| ())
    }

    /// Takes what comes next and tells `begun` how long each record of application data is that begins there; how many bytes were
    /// application data.
    pub fn take_each(&mut self, piece: Piece<'_>, begun: impl FnMut(u32)) -> u32 {
        match piece {
            Piece::Data(data) => self.data(data, begun),
            Piece::Lost(len) => self.lost(len),
        }
    }

    fn data(&mut self, mut data: &[u8], mut begun: impl FnMut(u32)) -> u32 {
        let mut application = 0;
        while !data.is_empty() && !self.is_lost {
            if self.left > 0 {
                let taken = data.len().min(self.left as usize);
                application += self.pass(u32::try_from(taken).unwrap_or(u32::MAX));
                data = &data[taken..];
                continue;
            }
            let taken = data.len().min(HEADER - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&data[..taken]);
            self.have += taken;
            data = &data[taken..];
            if self.have == HEADER {
                self.have = 0;
                self.is_application = self.header[0] == APPLICATION_DATA;
                self.left = u16::from_be_bytes([self.header[3], self.header[4]]).into();
                self.is_lost = !CONTENT_TYPES.contains(&self.header[0]) || self.header[1] != 3;
                if self.is_application && !self.is_lost {
                    begun(self.left);
                }
            }
        }
        application
    }

    /// Bytes that nobody saw: within a record its header says what they were, beyond it nobody knows where the next begins.
    fn lost(&mut self, len: u32) -> u32 {
        if len > self.left || self.have > 0 {
            self.is_lost = true;
        }
        self.pass(len.min(self.left))
    }

    fn pass(&mut self, len: u32) -> u32 {
        self.left -= len;
        if self.is_application { len } else { 0 }
    }

    /// Whether it cannot be told any more where records begin.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, len: u16) -> Vec<u8> {
        let [high, low] = len.to_be_bytes();
        let mut bytes = vec![kind, 3, 3, high, low];
        bytes.resize(HEADER + usize::from(len), 0);
        bytes
    }

    #[test]
    fn application_data_is_counted_however_it_is_cut() {
        let all = [record(22, 300), record(20, 1), record(23, 50), record(23, 1_000)].concat();
        for step in [1, 2, 7, 300, 2_000] {
            let mut records = Records::default();
            let mut begun = Vec::new();
            let mut take = |chunk| records.take_each(Piece::Data(chunk), |len| begun.push(len));
            let sum: u32 = all.chunks(step).map(&mut take).sum();
            assert_eq!((sum, begun), (1_050, vec![50, 1_000]), "in steps of {step}");
        }
    }

    #[test]
    fn what_the_capture_cut_off_within_a_record_is_counted() {
        let mut records = Records::default();
        assert_eq!(records.take(Piece::Data(&record(23, 1_000)[..100])), 95);
        assert_eq!(records.take(Piece::Lost(905)), 905);
        assert_eq!(records.take(Piece::Data(&record(23, 10))), 10);
        assert_eq!(records.take(Piece::Lost(10)), 0);
        assert!(records.is_lost());
        assert_eq!(records.take(Piece::Data(&record(23, 10))), 0);
    }

    #[test]
    fn what_is_no_tls_is_lost() {
        let mut records = Records::default();
        assert_eq!(records.take(Piece::Data(b"GET / HTTP/1.1\r\n")), 0);
        assert!(records.is_lost());
    }
}
