//! Lines that wait to be written, so that whoever logs never waits for a reader: a pipe that nobody
//! reads is full after 64 KiB, and then a write to it blocks.
//!
//! `tracing-appender` does the same, but bounds lines and not bytes, and when it ends while the pipe is
//! full it says so on the standard error, which is that pipe.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait: some thousand lines, which is a busy webhook's second.
const CAPACITY: usize = 256 << 10;

/// Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
}

impl Lines {
    /// Starts the thread that writes to `out`. It ends with the process.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::default();
        lines.lock().waiting.reserve_exact(CAPACITY);
        let of_thread = lines.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || of_thread.write(out))?;
        Ok(lines)
    }

    pub(super) fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Returns when all is written, or after `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        // Poisoned or not, the process is about to end.
        let _ = self.shared.changed.wait_timeout_while(self.lock(), limit, busy);
    }

    fn write(self, mut out: impl Write) {
        let mut taken = Vec::with_capacity(CAPACITY);
        loop {
            let nothing = |state: &mut State| state.waiting.is_empty();
            let waited = self.shared.changed.wait_while(self.lock(), nothing);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut state.waiting, &mut taken);
            state.is_writing = true;
            drop(state);
            if out.write_all(&taken).and_then(|()| out.flush()).is_err() {
                let lines = taken.split(|byte| *byte == b'\n').count() - 1;
                self.dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
            }
            taken.clear();
            self.lock().is_writing = false;
            self.shared.changed.notify_all();
        }
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > CAPACITY {
            self.dropped.inc();
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.shared.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is given one whole line at a time.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
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
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// What writes to it waits until its other end reads.
    struct Pipe(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.recv().map_err(io::Error::other)?;
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order_and_what_finds_no_room_is_counted() {
        let (send, written) = channel();
        let (read, may_write) = channel();
        let lines = Lines::start(Pipe(send, may_write)).unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        // Nobody reads: one lot is with the thread, another waits, and the rest finds no room.
        for _ in 0..1024 {
            (&lines).write_all(&line).unwrap();
        }
        let dropped = lines.dropped().get();
        assert!((512..=768).contains(&dropped), "{dropped}");
        lines.flush(Duration::from_millis(10));

        let kept = (1024 - usize::try_from(dropped).unwrap()) * line.len();
        let mut found = 0;
        while found < kept {
            read.send(()).unwrap();
            found += written.recv_timeout(LIMIT).unwrap().len();
        }
        (&lines).write_all(b"last\n").unwrap();
        read.send(()).unwrap();
        lines.flush(LIMIT);
        assert_eq!(written.try_recv().unwrap(), b"last\n");
        assert_eq!((found, lines.dropped().get()), (kept, dropped));
    }

    #[test]
    fn lines_that_nobody_can_read_are_counted() {
        let (send, written) = channel();
        let (read, may_write) = channel();
        drop((written, read));
        let lines = Lines::start(Pipe(send, may_write)).unwrap();
        (&lines).write_all(b"one\n").unwrap();
        lines.flush(LIMIT);
        assert_eq!(lines.dropped().get(), 1);
    }
}
