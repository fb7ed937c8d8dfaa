//! Daemons: started detached, found again by a recorded process id, stopped by signal.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::cgroups;
use crate::command::wait_until;
use crate::error::{Error, IoContext, Result};
use crate::host::Cgroups;
use crate::layout::{Layout, write_file};

/// How long a daemon may take to end after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(20);
/// Lines of a dead daemon's log that its error shows.
const TAIL_LINES: usize = 15;

/// What to start, and where.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Component name: key of the record, the log and the control group.
    pub name: String,
    pub program: OsString,
    pub args: Vec<OsString>,
    /// Process whose network and mount namespaces it enters; none for the root namespaces.
    pub inside: Option<i32>,
    pub env: Vec<(&'static str, OsString)>,
}

/// A recorded process. The start time tells it from a later process with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub pid: i32,
    start_ticks: u64,
}

impl Launch {
    pub fn new(name: impl Into<String>, program: impl Into<OsString>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            inside: None,
            env: Vec::new(),
        }
    }

    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub fn inside(mut self, pid: i32) -> Self {
        self.inside = Some(pid);
        self
    }

    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Starts it in a session and control group of its own, with its output appended to its log.
    pub fn start(&self, layout: &Layout, groups: &Cgroups) -> Result<Recorded> {
        let log_path = layout.log(&self.name);
        std::fs::create_dir_all(layout.logs()).at("create", &layout.logs())?;
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.at("open", &log_path)?;
        let errors = log.try_clone().at("open", &log_path)?;
        let group = cgroups::daemon_group(groups, &self.name)?;
        let mut command = self.command(&group);
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .current_dir("/");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().map_err(|source| Error::NotStarted {
            command: self.name.clone(),
            source,
        })?;
        let recorded =
            Recorded::of(i32::try_from(child.id()).expect("Linux process ids fit an i32"))
                .ok_or_else(|| died(layout, &self.name))?;
        recorded.save(&layout.pid_record(&self.name))?;
        Ok(recorded)
    }

    /// Every step execs the next, so the process id stays that of the shell that is started. The group
    /// is joined first: no instant in which a crash of ours leaves a process that is not found.
    fn command(&self, group: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ > "$0" && exec setsid "$@""#])
            .arg(group);
        if let Some(pid) = self.inside {
            command
                .arg("nsenter")
                .arg(format!("--target={pid}"))
                .args(["--net", "--mount", "--"]);
        }
        command.arg(&self.program).args(&self.args);
        command
    }
}

impl Recorded {
    pub fn of(pid: i32) -> Option<Self> {
        let start_ticks = stat_field(pid, START_TICKS)?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }

    /// The recorded process of a component, if it still runs.
    pub fn load(layout: &Layout, name: &str) -> Option<Self> {
        let text = std::fs::read_to_string(layout.pid_record(name)).ok()?;
        let (pid, start_ticks) = text.trim().split_once(' ')?;
        let recorded = Self {
            pid: pid.parse().ok()?,
            start_ticks: start_ticks.parse().ok()?,
        };
        recorded.is_alive().then_some(recorded)
    }

    fn save(self, path: &Path) -> Result<()> {
        write_file(path, format!("{} {}\n", self.pid, self.start_ticks))
    }

    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self) && !is_zombie(self.pid)
    }

    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal, which changes nothing.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// SIGKILL, and the wait for the end. A stopped (SIGSTOP) process ends too.
    pub fn kill(self, name: &str) -> Result<()> {
        self.signal(Signal::SIGKILL);
        wait_until(&format!("the end of {name}"), KILL_LIMIT, || {
            reap(self.pid);
            Ok(!self.is_alive())
        })
    }
}

/// The error of a component that is not running, with the end of its log.
pub(crate) fn died(layout: &Layout, name: &str) -> Error {
    let log = layout.log(name);
    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Error::Died {
        name: name.to_owned(),
        log,
        tail,
    }
}

/// Takes the exit status of a child of ours; others' children are left to their parents.
pub(crate) fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

pub(crate) fn is_zombie(pid: i32) -> bool {
    stat_field(pid, STATE).is_some_and(|state| state == "Z" || state == "X")
}

/// Positions in `/proc/<pid>/stat` after the program name, which may itself hold spaces.
const STATE: usize = 0;
const START_TICKS: usize = 19;

fn stat_field(pid: i32, index: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(index).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_process_id_is_not_taken_for_the_recorded_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = Recorded::of(pid).unwrap();
        assert!(me.is_alive());
        let other = Recorded {
            pid,
            start_ticks: me.start_ticks + 1,
        };
        assert!(!other.is_alive());
    }

    #[test]
    fn records_survive_a_round_trip_and_dead_processes_are_not_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::under(folder.path());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let recorded = Recorded::of(i32::try_from(child.id()).unwrap()).unwrap();
        recorded.save(&layout.pid_record("x")).unwrap();
        assert_eq!(Recorded::load(&layout, "x"), Some(recorded));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Recorded::load(&layout, "x"), None);
        assert_eq!(Recorded::load(&layout, "y"), None);
    }
}
