//! A command that scores: started once, asked by a line on its standard input, answering by a line on its standard output.
//!
//! What it says on its standard error goes where the program's own goes. It runs in a process group of its own, so that Ctrl-C
//! in a terminal reaches the training alone, which ends it by closing its input, and that what it has started (`sh -c`,
//! `uv run`) ends with it. A process that leaves the group, as a daemon does, is known on Linux by a variable of its environment,
//! and ends as well; elsewhere, or without that variable, it goes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use memtrain_corpora::store;
use memtrain_run::signal::StopRequest;

use super::{RewardError, answer_bytes, rewards_of};

/// Time between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Time that a command has to end by itself once its input is closed.
const GRACE: Duration = Duration::from_secs(2);

/// Environment variable by which the processes of a command are known wherever they went. No other command has its value.
const MARK: &str = "MEMTRAIN_REWARD_PROCESS";
/// Makes values of [`MARK`] unique within this process.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// A running command.
#[derive(Debug)]
pub(super) struct Command {
    words: Vec<String>,
    timeout: Duration,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Value of [`MARK`] in its environment.
    mark: String,
    /// Requests on their way to it; taken when it is to end.
    requests: Option<SyncSender<Vec<u8>>>,
    answers: Receiver<Line>,
}

/// A line of its output, or why there is none.
#[derive(Debug)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

impl Command {
    /// Starts a program with arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(words: &[String], timeout: Duration) -> anyhow::Result<Self> {
        let mut command = Self { words: words.to_vec(), timeout, running: None };
        let running = command.run().with_context(|| format!("{} cannot be started", command.who()))?;
        command.running = Some(running);
        Ok(command)
    }

    /// What it is called in messages.
    fn who(&self) -> String {
        format!("`reward.command`, `{}`,", self.words.join(" "))
    }

    fn run(&self) -> std::io::Result<Running> {
        let [program, arguments @ ..] = &self.words[..] else { return Err(std::io::ErrorKind::InvalidInput.into()) };
        let mut command = std::process::Command::new(program);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mark = format!("{}-{now}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        command.args(arguments).env(MARK, &mark).stdin(Stdio::piped()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        // One request is under way, and one line more than was asked for is found out.
        let ((requests, to_write), (read, answers)) = (mpsc::sync_channel(1), mpsc::sync_channel(2));
        std::thread::Builder::new().name("reward-input".to_owned()).spawn(move || write_requests(input, &to_write))?;
        std::thread::Builder::new().name("reward-output".to_owned()).spawn(move || read_lines(output, &read))?;
        Ok(Running { child, mark, requests: Some(requests), answers })
    }

    /// The scores of `count` trajectories. After a failure that may pass the command is started anew by the next call.
    ///
    /// # Errors
    /// As [`super::ExternalReward::add`].
    pub(super) fn ask(&mut self, asked: &str, count: usize, stop: &StopRequest) -> Result<Vec<f64>, RewardError> {
        let who = self.who();
        let passing = |what: String| RewardError::Passing { who: who.clone(), what };
        if self.running.is_none() {
            self.running = Some(self.run().map_err(|error| passing(format!("cannot be started: {error}")))?);
        }
        let Some(running) = &mut self.running else { return Err(passing("is not running".to_owned())) };
        let answered = running.ask(asked, self.timeout, stop);
        let rewards = match answered {
            Ok(line) if line.len() <= answer_bytes(count) => rewards_of(&who, &line, count),
            Ok(_) | Err(Failure::TooLong) => {
                let what = format!("more than the {} bytes that it may have", answer_bytes(count));
                Err(RewardError::Answer { who: who.clone(), what })
            }
            Err(Failure::Unasked(line)) => {
                let line = memtrain_engine::outbound::beginning(&String::from_utf8_lossy(&line));
                let what = format!("more than one line for a request: `{line}`");
                Err(RewardError::Answer { who: who.clone(), what })
            }
            Err(Failure::Timeout) => Err(passing(format!("gave no answer in {} s", self.timeout.as_secs_f64()))),
            Err(Failure::Ended) => Err(passing(format!("ended before it answered: {}", running.exit()))),
            Err(Failure::Stopped(error)) => Err(error.into()),
        };
        if rewards.is_err() {
            self.running = None;
        }
        rewards
    }
}

/// Why a request has no answer.
enum Failure {
    Timeout,
    Ended,
    TooLong,
    Unasked(Vec<u8>),
    Stopped(memtrain_run::RunError),
}

impl Running {
    fn ask(&mut self, asked: &str, timeout: Duration, stop: &StopRequest) -> Result<Vec<u8>, Failure> {
        // What was printed since the last answer belongs to no request.
        self.refuse_unasked()?;
        let mut line = Vec::with_capacity(asked.len() + 1);
        line.extend_from_slice(asked.as_bytes());
        line.push(b'\n');
        let until = Instant::now() + timeout;
        match self.requests.as_ref().map(|requests| requests.try_send(line)) {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => return Err(Failure::Timeout),
            Some(Err(TrySendError::Disconnected(_))) | None => return Err(Failure::Ended),
        }
        loop {
            stop.check().map_err(Failure::Stopped)?;
            let left = until.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left.min(LOOK)) {
                Ok(Line::Whole(line)) => {
                    self.refuse_unasked()?;
                    return Ok(line);
                }
                Ok(Line::TooLong) => return Err(Failure::TooLong),
                Ok(Line::End) | Err(RecvTimeoutError::Disconnected) => return Err(Failure::Ended),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Failure::Timeout),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn refuse_unasked(&self) -> Result<(), Failure> {
        match self.answers.try_recv() {
            Ok(Line::Whole(line)) => Err(Failure::Unasked(line)),
            Ok(Line::TooLong) => Err(Failure::TooLong),
            // Its end is told where an answer is waited for.
            Ok(Line::End) | Err(_) => Ok(()),
        }
    }

    /// How it ended.
    fn exit(&mut self) -> String {
        let until = Instant::now() + GRACE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                _ => return "its output is closed".to_owned(),
            }
        }
    }
}

impl Drop for Running {
    /// Closes its input, gives it a moment to end, and ends its process group and who has left it: one that has ended may have left
    /// others behind.
    fn drop(&mut self) {
        self.requests = None;
        let until = Instant::now() + GRACE;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        end_group(self.child.id());
        end_marked(&self.mark);
        // It may have ended between the two.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process group, if anybody is left in it.
#[cfg(unix)]
fn end_group(leader: u32) {
    kill(&[format!("-{leader}")]);
}

/// Kills processes, or groups by their negative number. The standard library signals children alone; the shell's own `kill` needs
/// neither a further dependency nor `unsafe`.
#[cfg(unix)]
fn kill(processes: &[String]) {
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", "kill -s KILL -- \"$@\"", "sh"]).args(processes);
    // A group without processes is an error of `kill`, and nothing to be told.
    let _ = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Kills the processes that have this mark, and those that they start meanwhile. Only Linux shows the environment of a process.
fn end_marked(mark: &str) {
    /// A process that starts another one as fast as it can is overtaken by the second time.
    const ROUNDS: usize = 50;
    if !cfg!(target_os = "linux") {
        return;
    }
    let wanted = format!("{MARK}={mark}");
    for _ in 0..ROUNDS {
        let processes: Vec<String> = store::list(Path::new("/proc"))
            .unwrap_or_default()
            .iter()
            .filter(|process| {
                process.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
            })
            .filter(|process| {
                // Those of others cannot be read, and are none.
                let environment = store::read(&process.join("environ")).unwrap_or_default();
                environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
            })
            .filter_map(|process| process.file_name()?.to_str().map(str::to_owned))
            .collect();
        if processes.is_empty() {
            return;
        }
        kill(&processes);
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Elsewhere there are no process groups.
#[cfg(not(unix))]
fn end_group(_leader: u32) {}

/// Elsewhere nothing is known by a mark.
#[cfg(not(unix))]
fn kill(_processes: &[String]) {}

/// Writes requests as they come, until there are no more or nobody reads them. A command that does not read blocks this
/// thread alone.
fn write_requests(mut input: ChildStdin, requests: &Receiver<Vec<u8>>) {
    for request in requests {
        if input.write_all(&request).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}

/// Reads lines, at most as long as an answer to the largest batch, until the end or until nobody wants them.
fn read_lines(output: ChildStdout, lines: &SyncSender<Line>) {
    /// An answer to the 65,536 trajectories that a batch may have.
    const LONGEST: u64 = 4_096 + 64 * 65_536;
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        let line = match (read, line.pop()) {
            (Ok(_), Some(b'\n')) => Line::Whole(line),
            (Ok(bytes), Some(_)) if bytes as u64 == LONGEST => Line::TooLong,
            _ => Line::End,
        };
        let is_last = !matches!(line, Line::Whole(_));
        if lines.send(line).is_err() || is_last {
            return;
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn command(script: &str, timeout_s: f64) -> Command {
        let words = ["sh", "-c", script].map(str::to_owned);
        Command::start(&words, Duration::from_secs_f64(timeout_s)).expect("sh")
    }

    fn ask(command: &mut Command) -> Result<Vec<f64>, RewardError> {
        command.ask("{\"trajectories\":[]}", 2, &StopRequest::default())
    }

    #[test]
    fn a_command_is_started_once_and_asked_as_often_as_there_are_batches() {
        // It counts its requests, which it can do only in one process.
        let mut counting =
            command("n=0; while read -r line; do n=$((n + 1)); echo \"{\\\"rewards\\\": [$n, -1.5]}\"; done", 10.0);
        for round in 1..=3 {
            assert_eq!(ask(&mut counting).unwrap(), [f64::from(round), -1.5]);
        }
        assert!(Command::start(&["no-such-program-anywhere".to_owned()], GRACE).is_err());
    }

    #[test]
    fn whatever_a_command_does_there_is_an_end_and_a_reason() {
        let hostile = [
            ("read -r line; exec sleep 100", "gave no answer in 0.5 s"),
            ("exec sleep 100", "gave no answer in 0.5 s"),
            ("read -r line; exit 3", "ended before it answered: exit status: 3"),
            ("exit 0", "ended before it answered"),
            ("read -r line; kill -9 $$", "signal: 9"),
            ("read -r line; printf '{\"rewards\": [1, 2]}'; exec sleep 100", "gave no answer"),
            ("read -r line; echo hello", "it begins with `hello`"),
            ("read -r line; printf '\\033[2J\\377\\n'", "answers with something else"),
            ("read -r line; echo", "answers with something else"),
            ("read -r line; echo '{\"rewards\": [1, NaN]}'", "answers with something else"),
            ("read -r line; echo '{\"rewards\": [1, null]}'", "answers with something else"),
            ("read -r line; echo '{\"rewards\": [1, 1e999]}'", "answers with something else"),
            ("read -r line; echo '{\"rewards\": [1]}'", "1 rewards for 2 trajectories"),
            ("read -r line; echo '{\"rewards\": [1, 2, 3]}'", "3 rewards for 2 trajectories"),
            ("read -r line; yes | tr -d '\\n'", "more than the 4224 bytes"),
            (
                "read -r line; yes '                                        ' | head -n 200 | tr -d '\\n'; echo",
                "more than",
            ),
        ];
        for (script, expected) in hostile {
            let started = Instant::now();
            let timeout_s = if expected.contains("no answer") { 0.5 } else { 30.0 };
            let told = ask(&mut command(script, timeout_s)).expect_err(script).to_string();
            assert!(told.contains(expected) && told.contains("`reward.command`"), "{script}: {told}");
            assert!(!told.contains('\u{1b}'), "{script}: {told}");
            assert!(started.elapsed() < Duration::from_secs(25), "{script}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn a_line_that_nobody_asked_for_is_found_by_the_next_request() {
        let answer = "echo '{\"rewards\": [1, 2]}'";
        let twice = format!("while read -r line; do {answer}; sleep 0.2; {answer}; done");
        let flood = "read -r line; yes '{\"rewards\": [1, 2]}'";
        for script in [&*twice, flood] {
            let mut chatty = command(script, 30.0);
            let first = ask(&mut chatty);
            std::thread::sleep(Duration::from_millis(800));
            let told = first.and_then(|_| ask(&mut chatty)).expect_err("a line too many").to_string();
            assert!(told.contains("more than one line"), "{told}");
            // Started anew it is asked again.
            assert!(ask(&mut chatty).is_ok() || script == flood);
        }
    }

    #[test]
    fn what_a_command_has_started_ends_with_it_however_it_ends() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let endings = [
            ("times-out", 0.5, "read -r line; sleep 100; true"),
            ("fails", 30.0, "read -r line; sleep 0.3; exit 3"),
            ("answers", 30.0, "read -r line; sleep 0.3; echo '{\"rewards\": [1, 2]}'; read -r line"),
        ];
        // One in the group, and on Linux one that has left it, whose parent has ended.
        let groups: &[&str] = if cfg!(target_os = "linux") { &["", "setsid"] } else { &[""] };
        let cases = groups.iter().flat_map(|group| endings.iter().map(move |ending| (group, ending)));
        for (group, &(name, timeout_s, ending)) in cases {
            // A process that would write on for ever, and that has let go of the pipes.
            let alive = folder.path().join(format!("{name}-{group}"));
            let writes = "while sleep 0.02; do echo alive >> \"$0\"; done";
            let script =
                format!("({group} sh -c '{writes}' '{}' </dev/null >/dev/null 2>&1 &) ; {ending}", alive.display());
            let length = || store::len(&alive).unwrap_or(0);
            let mut started = command(&script, timeout_s);
            assert_eq!(ask(&mut started).is_ok(), name == "answers", "{name} {group}");
            drop(started);
            let at_its_end = length();
            std::thread::sleep(Duration::from_millis(400));
            assert_eq!((at_its_end > 0, length()), (true, at_its_end), "{name} {group}");
        }
    }

    #[test]
    fn one_that_does_not_read_holds_nobody_up_and_a_stop_is_heeded() {
        // More than a pipe holds.
        let asked = "x".repeat(1 << 20);
        let mut deaf = command("exec sleep 100", 0.5);
        let told = deaf.ask(&asked, 1, &StopRequest::default()).expect_err("deaf").to_string();
        assert!(told.contains("gave no answer"), "{told}");
        let stop = StopRequest::default();
        stop.request();
        let started = Instant::now();
        let error = command("exec sleep 100", 60.0).ask("{}", 1, &stop).expect_err("stopped");
        assert!(matches!(error, RewardError::Stopped(_)) && started.elapsed() < Duration::from_secs(10), "{error}");
    }
}
