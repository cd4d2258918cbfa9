//! Lines that wait to be written, so that whoever logs never waits for a reader: a pipe that nobody
//! reads is full after 64 KiB, and then a write to it blocks.
//!
//! `tracing-appender` does the same, but when it ends while the pipe is full it says so on the standard
//! error, which is that pipe.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait: a busy webhook's second. They are some hundred bytes each.
const CAPACITY: usize = 1024;

/// Lines that come within this time are written in one go: to wake the thread and to write for each of
/// them costs as much as a fifth of an admission.
const TOGETHER: Duration = Duration::from_millis(1);
const MOST_TOGETHER: usize = 64;

/// Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Entry>,
    dropped: Counter,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Dropped when all lines before it are written: that is the message.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `out`. It ends with the process.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, entries) = sync_channel(CAPACITY);
        let dropped = Counter::default();
        let lines = Self { queue, dropped: dropped.clone() };
        let write = move || write(out, &entries, &dropped);
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(lines)
    }

    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Returns when all is written, or after `limit`. With a full queue nothing is being read, and it
    /// returns at once.
    pub(super) fn flush(&self, limit: Duration) {
        let (written, wait) = sync_channel(0);
        if self.queue.try_send(Entry::Flush(written)).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

fn write(mut out: impl Write, entries: &Receiver<Entry>, dropped: &Counter) {
    while let Ok(first) = entries.recv() {
        std::thread::sleep(TOGETHER);
        let (mut lines, mut text, mut flushes) = (0, Vec::new(), Vec::new());
        for entry in std::iter::once(first).chain(entries.try_iter().take(MOST_TOGETHER)) {
            match entry {
                Entry::Line(line) => {
                    lines += 1;
                    text.extend(line);
                }
                Entry::Flush(flush) => flushes.push(flush),
            }
        }
        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
            dropped.inc_by(lines);
        }
    }
}

/// Is given one whole line at a time.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_written_in_order_and_what_finds_no_room_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(writer).unwrap();
        // Nobody reads: the pipe holds 64 of these, and the queue its thousand.
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..2048 {
            (&lines).write_all(&line).unwrap();
        }
        let dropped = lines.dropped().get();
        assert!((800..=1024).contains(&dropped), "{dropped}");
        lines.flush(Duration::from_millis(10));

        let kept = 2048 - usize::try_from(dropped).unwrap();
        let mut read = vec![0; kept * line.len()];
        io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!(read, line.repeat(kept));
        (&lines).write_all(b"last\n").unwrap();
        lines.flush(LIMIT);
        let mut last = [0; 5];
        io::Read::read_exact(&mut reader, &mut last).unwrap();
        assert_eq!((&last, lines.dropped().get()), (b"last\n", dropped));
    }

    #[test]
    fn lines_that_nobody_can_read_are_counted() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let lines = Lines::start(writer).unwrap();
        (&lines).write_all(b"one\n").unwrap();
        lines.flush(LIMIT);
        assert_eq!(lines.dropped().get(), 1);
    }
}
