//! Records out of a stream of bytes: RFC 4180, each with the line that it begins on.
//!
//! What can't be read is one fault in one place: reading goes on with the line after it, so that a quote which is never
//! closed doesn't swallow the rest of the file. That it was never closed shows in three ways: the next quote stands where
//! none may close (most files have quoted cells, so that this is a few rows on), the record grows beyond its bound, or a
//! line within the quoted text is itself a row as wide as the header, which a stray quote further down (`12",`) would
//! otherwise hide. Holds one record and one piece of the stream in memory, never the file.

/// The longest record, in bytes; what is longer has an unclosed quote in it.
pub const RECORD_BYTES_MAX: usize = 1 << 20;
/// Read bytes that are kept before the buffer is moved together.
const CONSUMED_BYTES_MAX: usize = 64 << 10;
/// Narrower rows are too much like text: a line of it may have as many commas by chance.
const TELLING_WIDTH_MIN: usize = 5;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record, its quotes resolved; the cells are not yet known to be text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// In the file, from 1.
    pub line: u64,
    pub cells: Vec<Vec<u8>>,
}

impl Record {
    /// What separates the cells of a header where it isn't commas.
    pub fn other_separator(&self) -> Option<&'static str> {
        let [whole] = &self.cells[..] else { return None };
        [(b';', "semicolons"), (b'\t', "tabs")].into_iter().find(|(byte, _)| whole.contains(byte)).map(|(_, name)| name)
    }
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub line: u64,
    /// The cells before the one that can't be read.
    pub cells: Vec<Vec<u8>>,
    pub reason: FaultReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    #[error("a quote opens here and is not closed within {RECORD_BYTES_MAX} bytes: close it, or shorten the text")]
    UnclosedQuote,
    #[error("a quote opens here, and a line after it is a row of its own: close the quote")]
    SwallowsRows,
    #[error("a closing quote must be followed by a comma or the end of the line; write a quote inside of a text as \"\"")]
    TextAfterQuote,
    #[error("the row is longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
}

/// Cuts a stream into records.
#[derive(Debug)]
pub struct Records {
    buffer: Vec<u8>,
    /// How much of the buffer was read already.
    consumed: usize,
    line: u64,
    ended: bool,
    /// The rest of the current line belongs to a fault that was reported.
    skipping: bool,
    begun: bool,
    /// Cells of the header, once it was read.
    width: usize,
}

/// What the unread bytes begin with.
enum Scan {
    /// Its cells, and how many bytes it took.
    Whole(Vec<Vec<u8>>, usize),
    /// It goes on beyond the bytes; the flag says whether a quote is open.
    Partial(Vec<Vec<u8>>, bool),
    TextAfterQuote(Vec<Vec<u8>>),
}

impl Records {
    pub fn new() -> Self {
        Self { buffer: Vec::new(), consumed: 0, line: 1, ended: false, skipping: false, begun: false, width: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > CONSUMED_BYTES_MAX {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing more will come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next record; `None` until more was pushed, or for good when the stream has ended.
    pub fn next_record(&mut self) -> Option<Result<Record, Fault>> {
        loop {
            if !self.begun && !self.begin() {
                return None;
            }
            if self.skipping && !self.skip_line() {
                return None;
            }
            let unread = &self.buffer[self.consumed..];
            if unread.is_empty() {
                return None;
            }
            let line = self.line;
            let (cells, reason) = match scan(unread, self.ended) {
                Scan::Whole(cells, _) if cells.iter().any(|cell| self.has_row_in_it(cell)) => {
                    let cells = cells.into_iter().take_while(|cell| !self.has_row_in_it(cell)).collect();
                    (cells, FaultReason::SwallowsRows)
                }
                Scan::Whole(cells, length) => {
                    self.consume(length);
                    if cells.len() == 1 && cells[0].is_empty() {
                        continue;
                    }
                    if self.width == 0 {
                        self.width = cells.len();
                    }
                    return Some(Ok(Record { line, cells }));
                }
                Scan::Partial(..) if !self.ended && unread.len() <= RECORD_BYTES_MAX => {
                    return None;
                }
                Scan::Partial(cells, true) => (cells, FaultReason::UnclosedQuote),
                Scan::Partial(cells, false) => (cells, FaultReason::TooLong),
                Scan::TextAfterQuote(cells) => (cells, FaultReason::TextAfterQuote),
            };
            self.skipping = true;
            return Some(Err(Fault { line, cells, reason }));
        }
    }

    /// Whether a line within a cell is as wide as the header. Prose has a space after its commas, rows have not.
    fn has_row_in_it(&self, cell: &[u8]) -> bool {
        if self.width < TELLING_WIDTH_MIN || !cell.contains(&b'\n') {
            return false;
        }
        let lines: Vec<&[u8]> = cell.split(|byte| *byte == b'\n').collect();
        let is_row = |line: &&[u8]| {
            let commas = line.split(|byte| *byte == b',').count() - 1;
            let of_prose = line.windows(2).filter(|pair| *pair == b", ").count();
            commas + 1 == self.width && of_prose * 2 < commas
        };
        // The first one began before the quote, the last one ends behind it.
        lines.len() > 2 && lines[1..lines.len() - 1].iter().any(is_row)
    }

    /// Drops a byte order mark. `false`: the bytes so far may be the beginning of one.
    fn begin(&mut self) -> bool {
        if self.buffer.len() < BYTE_ORDER_MARK.len() && !self.ended {
            return false;
        }
        if self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.consumed = BYTE_ORDER_MARK.len();
        }
        self.begun = true;
        true
    }

    /// Goes on to the next line. `false`: its beginning has not come yet.
    fn skip_line(&mut self) -> bool {
        let unread = &self.buffer[self.consumed..];
        let found = unread.iter().position(|byte| *byte == b'\n');
        let length = found.map_or(unread.len(), |at| at + 1);
        self.consume(length);
        self.skipping = found.is_none();
        found.is_some()
    }

    fn consume(&mut self, length: usize) {
        let read = &self.buffer[self.consumed..self.consumed + length];
        self.line += read.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        self.consumed += length;
    }
}

/// Reads one record. An unquoted cell may contain quotes; a quoted one ends at the first quote that isn't doubled.
fn scan(bytes: &[u8], ended: bool) -> Scan {
    let mut cells = Vec::new();
    let mut at = 0;
    loop {
        let mut cell = Vec::new();
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let Some(length) = bytes[at..].iter().position(|byte| *byte == b'"') else {
                    return Scan::Partial(cells, true);
                };
                cell.extend_from_slice(&bytes[at..at + length]);
                at += length + 1;
                match bytes.get(at) {
                    Some(b'"') => {
                        cell.push(b'"');
                        at += 1;
                    }
                    // The quote may be the first one of a doubled pair.
                    None if !ended => return Scan::Partial(cells, true),
                    _ => break,
                }
            }
        } else {
            let length = bytes[at..].iter().position(|byte| matches!(byte, b',' | b'\n'));
            let end = length.map_or(bytes.len(), |length| at + length);
            let text = &bytes[at..end];
            // A carriage return before the line's end belongs to the line's end.
            let is_last = bytes.get(end) != Some(&b',');
            cell.extend_from_slice(if is_last { text.strip_suffix(b"\r").unwrap_or(text) } else { text });
            at = end;
        }
        let rest = &bytes[at..];
        match rest {
            [b',', ..] => {
                cells.push(cell);
                at += 1;
            }
            [b'\n', ..] | [b'\r', b'\n', ..] => {
                cells.push(cell);
                return Scan::Whole(cells, at + if rest[0] == b'\r' { 2 } else { 1 });
            }
            [] | [b'\r'] if ended => {
                cells.push(cell);
                return Scan::Whole(cells, bytes.len());
            }
            [] | [b'\r'] => return Scan::Partial(cells, false),
            _ => return Scan::TextAfterQuote(cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultReason, RECORD_BYTES_MAX, Records};

    #[derive(Debug, PartialEq, Eq)]
    enum Found {
        Record(u64, Vec<String>),
        Fault(u64, FaultReason),
    }
    use Found::{Fault, Record};

    /// Every record and fault of a file that comes in pieces of the given size.
    fn read(file: &[u8], piece: usize) -> Vec<Found> {
        let mut records = Records::new();
        let mut found = Vec::new();
        let mut take = |records: &mut Records| {
            while let Some(next) = records.next_record() {
                found.push(match next {
                    Ok(record) => {
                        let texts = record.cells.into_iter().map(|cell| String::from_utf8_lossy(&cell).into_owned());
                        Record(record.line, texts.collect())
                    }
                    Err(fault) => Fault(fault.line, fault.reason),
                });
            }
        };
        for bytes in file.chunks(piece) {
            records.push(bytes);
            take(&mut records);
        }
        records.end();
        take(&mut records);
        found
    }

    fn record(line: u64, cells: &[&str]) -> Found {
        Record(line, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn records_are_the_same_however_the_stream_is_cut() {
        let file = "\u{feff}a,b\r\n\"x,1\",\"say \"\"hi\"\"\"\n\n\"two\nlines\",é\n12\" screen,";
        for piece in 1..file.len() {
            let expected = [
                record(1, &["a", "b"]),
                record(2, &["x,1", "say \"hi\""]),
                record(4, &["two\nlines", "é"]),
                record(6, &["12\" screen", ""]),
            ];
            assert_eq!(read(file.as_bytes(), piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_its_own_line_only() {
        let file = b"a,1\nb,\"2\nc,3\nd,4\n";
        for piece in 1..file.len() {
            let expected = [record(1, &["a", "1"]), Fault(2, FaultReason::UnclosedQuote), record(3, &["c", "3"]), record(4, &["d", "4"])];
            assert_eq!(read(file, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_unclosed_quote_is_found_at_the_next_quote() {
        let file = b"b,\"2\nc,\"3\"\nd,4\n";
        let expected = [Fault(1, FaultReason::TextAfterQuote), record(2, &["c", "3"]), record(3, &["d", "4"])];
        assert_eq!(read(file, 3), expected);
    }

    #[test]
    fn a_stray_quote_further_down_does_not_hide_the_rows_between() {
        let file = b"h,a,b,c,d\nx,\"1,2,3,4\ny,1,2,3,4\nz,screen 12\",2,3,4\n";
        let found = read(file, 7);
        assert_eq!(found[1..3], [Fault(2, FaultReason::SwallowsRows), record(3, &["y", "1", "2", "3", "4"])]);
        let prose = b"h,a,b,c,d\nx,\"so\none, two, three, four, five\nmore\",2,3,4\n";
        assert_eq!(read(prose, 7)[1], record(2, &["x", "so\none, two, three, four, five\nmore", "2", "3", "4"]));
    }

    #[test]
    fn a_row_without_end_is_given_up_and_the_next_one_read() {
        let mut file = vec![b'x'; RECORD_BYTES_MAX + 10_000];
        file.extend_from_slice(b"\na,1\n");
        assert_eq!(read(&file, 5_000), [Fault(1, FaultReason::TooLong), record(2, &["a", "1"])]);
    }
}
