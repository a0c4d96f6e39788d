//! A Slurm cluster of one machine, with daemons of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::job_files::JobFiles;
use super::site::{Kills, Site};
use crate::command;

/// Advice where Slurm is missing.
pub(super) const WAY_OUT: &str = "it needs `apt-get install slurm-wlm munge`, and root";

/// Longest time to wait for a job or a daemon.
const PATIENCE: Duration = Duration::from_secs(600);

/// Returns whether all daemons are installed, and may be started.
pub(super) fn is_there() -> bool {
    let is_root = command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    let says_version = |program: &str, flag| command::succeeds(Command::new(program).arg(flag));
    is_root
        && says_version("slurmctld", "-V")
        && says_version("slurmd", "-V")
        && says_version("munged", "-V")
}

/// Submits the script that the documentation shows, and kills a task's tool in it.
pub(super) fn run(site: &Site, jobs: &JobFiles) -> Result<String> {
    let script = site.folder.join("job.sh");
    fs::write(&script, jobs.slurm()?)?;
    let cluster = Cluster::start(&site.folder.join("cluster"))?;
    let mut submit = site.command(Path::new("sbatch"), Kills::Tool);
    command::output(
        submit.arg("--parsable").arg(&script).env("SLURM_CONF", &cluster.configuration),
    )?;
    cluster.wait_for_jobs()?;
    let result = site.judge(jobs).with_context(|| last_words(&site.folder));
    drop(cluster);
    result
}

/// Returns the output of the tasks.
fn last_words(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let outputs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("slurm-"));
    outputs.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
}

/// Daemons that end with it.
struct Cluster {
    configuration: PathBuf,
    daemons: Vec<Child>,
}

impl Cluster {
    fn start(folder: &Path) -> Result<Self> {
        for name in ["state", "spool"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let key = folder.join("munge.key");
        // Anyone who knew the key could run jobs as root as long as the daemons live.
        let mut random = [0; 128];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&key)?;
        file.write_all(&random)?;
        let configuration = folder.join("slurm.conf");
        fs::write(&configuration, configured(folder)?)?;
        let mut cluster = Self { configuration, daemons: vec![] };
        let at = |name: &str| folder.join(name);
        let mut munged = Command::new("munged");
        munged.args(["--foreground", "--force", "--num-threads=2"]);
        for (flag, name) in [
            ("--key-file", "munge.key"),
            ("--socket", "munge.socket"),
            ("--pid-file", "munge.pid"),
            ("--log-file", "munge.log"),
            ("--seed-file", "munge.seed"),
        ] {
            munged.arg(format!("{flag}={}", at(name).display()));
        }
        cluster.begin(munged, &at("munged.out"))?;
        wait_until("munged", || Ok(at("munge.socket").exists()))?;
        for daemon in ["slurmctld", "slurmd"] {
            let mut command = Command::new(daemon);
            command.arg("-D").arg("-f").arg(&cluster.configuration);
            cluster.begin(command, &at(&format!("{daemon}.out")))?;
        }
        let is_idle = |states: String| states.contains("idle");
        wait_until("a node", || {
            Ok(cluster.ask("sinfo", &["-h", "-o", "%t"])?.is_some_and(is_idle))
        })?;
        Ok(cluster)
    }

    fn begin(&mut self, mut daemon: Command, log: &Path) -> Result<()> {
        let log = fs::File::create(log)?;
        daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.daemons.push(daemon.spawn().with_context(|| command::line(&daemon))?);
        Ok(())
    }

    /// Returns the output of one of Slurm's commands; `None` as long as the daemons do not answer.
    fn ask(&self, program: &str, arguments: &[&str]) -> Result<Option<String>> {
        let mut command = Command::new(program);
        let output = command.args(arguments).env("SLURM_CONF", &self.configuration).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(output.status.success().then_some(said))
    }

    fn wait_for_jobs(&self) -> Result<()> {
        wait_until("the jobs", || {
            Ok(self.ask("squeue", &["-h", "-r"])?.is_some_and(|queue| queue.is_empty()))
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The daemon that was started last ends first; one that is gone already is fine.
        for daemon in self.daemons.iter_mut().rev() {
            let _ = command::succeeds(Command::new("kill").arg(daemon.id().to_string()));
            let _ = daemon.wait();
        }
    }
}

/// Configures one node that claims 32 cores, so that two tasks of the documented size run at once.
fn configured(folder: &Path) -> Result<String> {
    let host = command::output(&mut Command::new("hostname"))?;
    let host = host.trim();
    let [control, node] = [free_port()?, free_port()?];
    let folder = folder.display();
    ensure!(!folder.to_string().contains(' '), "{folder}: Slurm's configuration allows no space");
    Ok(format!(
        "ClusterName=one\n\
         SlurmctldHost={host}(127.0.0.1)\n\
         SlurmctldPort={control}\n\
         SlurmdPort={node}\n\
         SlurmUser=root\n\
         AuthInfo=socket={folder}/munge.socket\n\
         CredType=cred/munge\n\
         StateSaveLocation={folder}/state\n\
         SlurmdSpoolDir={folder}/spool\n\
         SlurmctldPidFile={folder}/slurmctld.pid\n\
         SlurmdPidFile={folder}/slurmd.pid\n\
         ProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\n\
         SwitchType=switch/none\n\
         MpiDefault=none\n\
         JobAcctGatherType=jobacct_gather/none\n\
         SelectType=select/cons_tres\n\
         SelectTypeParameters=CR_CPU\n\
         SlurmdParameters=config_overrides\n\
         MinJobAge=2\n\
         NodeName={host} NodeAddr=127.0.0.1 CPUs=32 State=UNKNOWN\n\
         PartitionName=all Nodes={host} Default=YES State=UP\n"
    ))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            bail!("{what}: nothing after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
