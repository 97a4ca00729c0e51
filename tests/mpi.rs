//! `lab imagenet` on several processes of an MPI job: one table, the same to the byte, and no job that hangs.

#[path = "support/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The example `lab`, built as this test was.
fn lab() -> &'static Path {
    static LAB: OnceLock<PathBuf> = OnceLock::new();
    LAB.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let profile = exe.parent().and_then(Path::parent).unwrap();
        // Those of this test, so that the library is not built again.
        let on = [
            ("gpu", cfg!(feature = "gpu")),
            ("png", cfg!(feature = "png")),
            ("fetch", cfg!(feature = "fetch")),
        ];
        let on = on.into_iter().filter(|(_, on)| *on).map(|(name, _)| name);
        let features = ["lab", "mpi"].into_iter().chain(on).collect::<Vec<_>>().join(",");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--no-default-features",
            "--features",
            &features,
            "--example",
            "lab",
        ]);
        cargo.current_dir(programs::root()).arg("--target-dir").arg(profile.parent().unwrap());
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples/lab")
    })
}

/// A job of which each line is run by so many processes.
fn job(out: &Path, lines: &[(usize, &str)]) -> Output {
    let mut mpirun = Command::new("mpirun");
    // A job that hangs ends here.
    mpirun.env("MPIEXEC_TIMEOUT", "600").args([
        "--allow-run-as-root",
        "--oversubscribe",
        "--bind-to",
        "none",
    ]);
    for (i, (processes, arguments)) in lines.iter().enumerate() {
        if i > 0 {
            mpirun.arg(":");
        }
        mpirun.arg("-n").arg(processes.to_string()).arg(lab()).args(["imagenet", "--threads", "1", "--out"]);
        mpirun.arg(out).args(arguments.split_whitespace());
    }
    mpirun.output().unwrap()
}

/// In 32 bits no step is skipped, as the first ones in mixed precision are.
const SMALL: &str = "--network resnet18_bn --precision 32 --limit 4 --batch-size 16 --epochs 1 --measurements 1 --beta 0,1e38";

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn any_number_of_processes_writes_the_same_table() {
    if !programs::has("mpirun") {
        return;
    }
    let tables = [1, 2, 4].map(|processes| {
        let out = TempDir::new().unwrap();
        let printed = succeeded(&job(out.path(), &[(processes, SMALL)]));
        assert!(printed.contains("2 units, 0 of them finished before, 2 now, 0 missing"), "{printed}");
        let table = std::fs::read_to_string(out.path().join("results.csv")).unwrap();
        // The first process alone tells the others what is left to do.
        let again = succeeded(&job(out.path(), &[(processes, SMALL)]));
        assert!(again.contains("2 units, 2 of them finished before, 0 now, 0 missing"), "{again}");
        assert_eq!(again.matches("units, ").count(), 1, "{again}");
        table
    });
    // A head, and a row for each beta.
    assert_eq!(tables[0].lines().count(), 1 + 2, "{}", tables[0]);
    assert!(tables[0].lines().next().unwrap().ends_with(",non_finite,non_finite_step,weights"));
    let lost = tables[0].lines().last().unwrap();
    assert!(lost.contains("forward pass, ") && lost.contains("beta * x"), "{lost}");
    for table in &tables[1..] {
        assert_eq!(*table, tables[0]);
    }
}

#[test]
fn a_process_that_differs_or_fails_ends_the_job() {
    if !programs::has("mpirun") {
        return;
    }
    let out = TempDir::new().unwrap();
    let ends = |other: &str, told: &str| {
        let output = job(out.path(), &[(1, SMALL), (1, other)]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(told), "{errors}");
    };
    ends(&format!("{SMALL} --parts 2"), "rank 1: expected parts 4 as on rank 0, got parts 2");
    ends(&format!("{SMALL} --learning-rate 0.2"), "expected learning_rate 0.001 as on rank 0");
    ends(&format!("{SMALL} --data nowhere"), "on rank 1: nowhere");
    let odd = job(out.path(), &[(3, SMALL)]);
    assert!(String::from_utf8_lossy(&odd.stderr).contains("a multiple of the 3 ranks"), "{odd:?}");
}
