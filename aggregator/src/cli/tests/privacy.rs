//! `aggregator privacy`, as people run it.

use serde_json::Value;
use tributary_console::{Console, Exit, run_with};

use super::scene::Ran;
use crate::cli::program;

fn privacy(words: &[&str]) -> Ran {
    let (console, captured) = Console::captured(true);
    let line = ["aggregator", "privacy"]
        .iter()
        .chain(words)
        .chain(&["--json"]);
    let exit = run_with(line, &console, program);
    Ran {
        exit,
        stdout: captured.stdout(),
        stderr: captured.stderr(),
    }
}

fn close(value: &Value, expected: f64, within: f64) {
    let got = value.as_f64().unwrap();
    assert!(
        (got - expected).abs() <= within,
        "{got}, expected {expected}"
    );
}

#[test]
fn both_accountants_say_what_steps_cost() {
    let words = "epsilon --sampling-rate 0.01 --noise-multiplier 1.1 --steps 10000 --delta 1e-5";
    let one = privacy(&words.split(' ').collect::<Vec<_>>()).data();
    close(&one["rdp"], 5.632, 1e-3);
    close(&one["pld"], 5.1926, 1e-3);
    assert_eq!(one["phases"].as_array().unwrap().len(), 1);
    let words = "epsilon --phase 0.01,1.1,4000 --phase 0.01,1.1,6000 --delta 1e-5";
    let cut = privacy(&words.split(' ').collect::<Vec<_>>()).data();
    close(&cut["pld"], one["pld"].as_f64().unwrap(), 1e-9);
    let words = "epsilon --sampling-rate 0.01 --noise-multiplier 1.1 --steps 10000 --delta 1e-5 \
                 --phase 0.1,2,50";
    let more = privacy(&words.split_whitespace().collect::<Vec<_>>()).data();
    assert!(more["pld"].as_f64() > one["pld"].as_f64());
}

#[test]
fn what_is_left_out_is_found() {
    let ask = |words: &str| {
        let words = format!("calibrate --epsilon 2 --delta 1e-5 {words}");
        privacy(&words.split(' ').collect::<Vec<_>>()).data()
    };
    let noise = ask("--sampling-rate 0.02 --steps 500");
    assert_eq!(noise["found"], "noise_multiplier");
    let z = noise["noise_multiplier"].as_f64().unwrap();
    assert!(noise["epsilon"].as_f64().unwrap() <= 2.0);
    let steps = ask(&format!("--sampling-rate 0.02 --noise-multiplier {z}"));
    let taken = steps["steps"].as_u64().unwrap();
    assert!((500..=502).contains(&taken), "{taken}");
    let rate = ask(&format!("--noise-multiplier {z} --steps 500"));
    close(&rate["sampling_rate"], 0.02, 2e-5);
    let moments = ask("--sampling-rate 0.02 --steps 500 --accountant rdp");
    assert!(moments["noise_multiplier"].as_f64().unwrap() > z);
}

#[test]
fn what_is_out_of_range_or_unbounded_is_refused() {
    for words in [
        "epsilon --sampling-rate 0 --noise-multiplier 1 --steps 1 --delta 1e-5",
        "epsilon --sampling-rate 1.1 --noise-multiplier 1 --steps 1 --delta 1e-5",
        "epsilon --sampling-rate 0.1 --noise-multiplier 0 --steps 1 --delta 1e-5",
        "epsilon --sampling-rate 0.1 --noise-multiplier nan --steps 1 --delta 1e-5",
        "epsilon --sampling-rate 0.1 --noise-multiplier 1 --steps -1 --delta 1e-5",
        "epsilon --sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 0",
        "epsilon --sampling-rate 0.1 --noise-multiplier 1 --steps 1 --delta 1",
        "epsilon --sampling-rate 0.1 --steps 1 --delta 1e-5",
        "epsilon --delta 1e-5",
        "epsilon --phase 0.1,1 --delta 1e-5",
        "epsilon --phase 0.1,1,1.5 --delta 1e-5",
        "epsilon --phase 2,1,1 --delta 1e-5",
        "epsilon --sampling-rate 0.1 --noise-multiplier 1e-200 --steps 1 --delta 1e-5",
        "epsilon --phase 0.1,1,18446744073709551615 --phase 0.1,2,1 --delta 1e-5",
        "calibrate --epsilon 0 --delta 1e-5 --sampling-rate 0.1 --steps 1",
        "calibrate --epsilon -1 --delta 1e-5 --sampling-rate 0.1 --steps 1",
        "calibrate --epsilon 1 --delta 1e-5 --steps 1",
        "calibrate --epsilon 1 --delta 1e-5 --sampling-rate 0.1 --steps 1 --noise-multiplier 1",
        "calibrate --epsilon 1 --delta 1e-5 --sampling-rate 1 --noise-multiplier 0.3",
        "calibrate --epsilon 1e-9 --delta 1e-9 --sampling-rate 1 --steps 1000000000000",
    ] {
        privacy(&words.split(' ').collect::<Vec<_>>()).error(Exit::Usage, "usage");
    }
}
