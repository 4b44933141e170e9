//! A newer nft than the machine's own, to hold our tables against: what one release lists, another
//! must load.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The variable by which the tests that hold tables against nft are told which one.
pub(crate) const VARIABLE: &str = "POINTSMAN_TEST_NFT";

/// The release of Debian whose nft is fetched: 1.1.3.
const SUITE: &str = "trixie";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// nft with everything that it loads, so that nothing of the machine's own is mixed in.
const PACKAGES: [&str; 12] = [
    "nftables",
    "libnftables1",
    "libnftnl11",
    "libmnl0",
    "libxtables12",
    "libjansson4",
    "libgmp10",
    "libedit2",
    "libbsd0",
    "libmd0",
    "libtinfo6",
    "libc6",
];

/// An nft of [`SUITE`], fetched and unpacked in `target/nft` if it is not there yet. The system's
/// configuration is neither read nor written.
pub(crate) fn provide() -> Result<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/nft");
    fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
    let home = home.canonicalize().context("target/nft")?;
    let program = home.join("nft");
    if !works(&program) {
        println!("Fetching nftables of Debian {SUITE} into target/nft.");
        fetch(&home)?;
        unpack(&home, &program)?;
        ensure!(works(&program), "{} does not run", program.display());
    }
    Ok(program)
}

fn works(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn fetch(home: &Path) -> Result<()> {
    for folder in ["lists/partial", "cache/archives/partial", "packages"] {
        fs::create_dir_all(home.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    let source = format!("deb [signed-by={KEYS}] http://deb.debian.org/debian {SUITE} main\n");
    fs::write(home.join("sources.list"), source)?;
    let mut configuration = String::new();
    for (name, file) in
        [("State::lists", "lists"), ("Cache", "cache"), ("Etc::sourcelist", "sources.list")]
    {
        writeln!(configuration, "Dir::{name} \"{}\";", home.join(file).display())?;
    }
    configuration += "Dir::Etc::sourceparts \"/dev/null\";\nAPT::Sandbox::User \"root\";\n";
    fs::write(home.join("apt.conf"), configuration)?;
    run(home, Command::new("apt-get").args(["-qq", "update"]))?;
    let mut download = Command::new("apt-get");
    run(home, download.args(["-qq", "download"]).args(PACKAGES).current_dir(home.join("packages")))
}

fn run(home: &Path, command: &mut Command) -> Result<()> {
    let output = command.env("APT_CONFIG", home.join("apt.conf")).output();
    let output = output.with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}

/// Unpacks the packages and writes a script that starts nft with its own libraries.
fn unpack(home: &Path, program: &Path) -> Result<()> {
    let root = home.join("root");
    for package in fs::read_dir(home.join("packages"))? {
        run(home, Command::new("dpkg-deb").arg("-x").arg(package?.path()).arg(&root))?;
    }
    let libraries = root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let mut entries = fs::read_dir(&libraries)
        .with_context(|| format!("{}", libraries.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let loader = entries
        .find(|path| {
            path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("ld-linux"))
        })
        .context("the packages brought no loader")?;
    let script = format!(
        "#!/bin/sh\nexec {} --library-path {} {} \"$@\"\n",
        loader.display(),
        libraries.display(),
        root.join("usr/sbin/nft").display()
    );
    fs::write(program, script)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
