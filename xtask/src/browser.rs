//! The page of the studio in a browser.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::workspace::Workspace;

/// Which tests, of which program.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The promises that matter most; what is not installed is not installed for them
    #[arg(long)]
    pub(crate) short: bool,
    /// Only the tests whose names match
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// The tool, built already [default: a release build]
    #[arg(long, value_name = "PATH")]
    pub(crate) tool: Option<PathBuf>,
}

impl Options {
    /// The tests that every change has to pass, in half a minute.
    pub(crate) fn for_ci(tool: PathBuf) -> Self {
        Self { short: true, only: None, tool: Some(tool) }
    }
}

/// Promises of the short form.
const SHORT: &str = "^(a file becomes a report without the mouse|a hostile name is text|a foreign page gets nothing)$";

/// Where the page's tests lie.
const FOLDER: &str = "crates/studio/browser";

/// Names that Chromium has.
const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Runs the tests of the page, or tells what is missing for them: a machine without a browser still passes.
///
/// # Errors
/// When a test fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Some(browser) = Browser::find(workspace, !options.short)? else { return Ok(()) };
    let tool = match &options.tool {
        Some(tool) => tool.clone(),
        None => workspace.release_binary()?,
    };
    let mut tests = browser.node(workspace);
    tests.arg("--test").env("ROUNDWISE", &tool);
    if let Some(pattern) = options.only.as_deref().or(options.short.then_some(SHORT)) {
        tests.arg(format!("--test-name-pattern={pattern}"));
    }
    if !options.short {
        let pictures = workspace.target("pictures");
        fs::create_dir_all(&pictures)?;
        tests.env("PICTURES", &pictures);
        println!("pictures of the pages go to {}", pictures.display());
    }
    command::run(tests.args(test_files(workspace)?))
}

fn test_files(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(workspace.path(FOLDER))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(".test.js"));
    files.sort();
    ensure!(!files.is_empty(), "there are no tests in {FOLDER}");
    Ok(files)
}

/// A browser, and what steers it.
pub(crate) struct Browser {
    chromium: PathBuf,
    modules: PathBuf,
}

impl Browser {
    /// Finds Node.js, Chromium and the packages that the tests import; prints what is missing and returns `None`.
    ///
    /// - `installs`: whether what is missing is installed where that can be done
    pub(crate) fn find(workspace: &Workspace, installs: bool) -> Result<Option<Self>> {
        if !command::succeeds(Command::new("node").arg("--version")) {
            println!("not checked: Node.js 20 or newer runs the tests of the page");
            return Ok(None);
        }
        let Some(chromium) = chromium(installs) else {
            println!("not checked: there is no Chromium; $CHROMIUM names one");
            return Ok(None);
        };
        let folder = workspace.target("browser");
        let modules = folder.join("node_modules");
        if !modules.join("playwright-core").is_dir() || !modules.join("axe-core").is_dir() {
            let installed = install(workspace, &folder);
            if !installs && installed.is_err() {
                println!("not checked: npm cannot install playwright-core and axe-core");
                return Ok(None);
            }
            installed?;
        }
        Ok(Some(Self { chromium, modules }))
    }

    /// Node.js with the browser, to be run at the root.
    pub(crate) fn node(&self, workspace: &Workspace) -> Command {
        let mut node = Command::new("node");
        node.current_dir(workspace.path("."));
        node.env("CHROMIUM", &self.chromium).env("NODE_PATH", &self.modules);
        node
    }
}

/// Installs what the tests import, outside the sources.
fn install(workspace: &Workspace, folder: &std::path::Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let list = "package.json";
    fs::copy(workspace.path(FOLDER).join(list), folder.join(list)).context("copy package.json")?;
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]);
    command::run(npm.current_dir(folder))
}

/// The browser that is named, or found, or installed.
fn chromium(installs: bool) -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let found = || CHROMIUM.iter().find_map(|name| in_path(name));
    named.or_else(found).or_else(|| {
        let mut apt = Command::new("apt-get");
        apt.args(["install", "--yes", "--quiet", "--no-install-recommends", "chromium"]);
        (installs && command::run(&mut apt).is_ok()).then(found).flatten()
    })
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
