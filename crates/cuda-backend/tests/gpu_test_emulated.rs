//! The program that runs on machines with a GPU, run on the device without one: it must not be what fails there.

#[path = "device/emulated.rs"]
mod emulated_device;
#[path = "../examples/gpu_test.rs"]
#[allow(dead_code, reason = "its main, and what needs a clock")]
mod gpu_test;

use emulated_device::{emulated, skipped};
use gpu_test::Report;

#[test]
fn the_gpu_test_passes_on_the_emulated_device() {
    if skipped() {
        return;
    }
    let (gpu, _) = emulated(1 << 28);
    let mut report = Report { good: true, ..Report::default() };
    gpu_test::kernels(&gpu, &mut report);
    gpu_test::models(&gpu, &[], 10, &mut report).expect("models run");
    gpu_test::loads(&gpu, 3, &mut report).expect("models load");
    assert!(report.good, "{}", report.text);
    assert!(!report.text.contains("NaN") && report.text.contains("| the demo model | 10 |"));
}

#[test]
fn a_device_that_computes_nothing_fails_it() {
    let driver = quipu_cuda_backend::RecordingDriver::new(1 << 28);
    let gpu = quipu_cuda_backend::CudaDevice::new(0, Box::new(driver)).expect("new enough");
    let mut report = Report { good: true, ..Report::default() };
    gpu_test::kernels(&gpu, &mut report);
    assert!(!report.good && report.text.contains("**failed**"));
}

/// Model files of `QUIPU_CUDA_MODELS` (separated by colons): toys of all architectures, or whatever there is patience for.
#[test]
fn models_at_hand_agree_with_the_cpu() {
    let Ok(list) = std::env::var("QUIPU_CUDA_MODELS") else {
        println!("skipped: QUIPU_CUDA_MODELS names no files");
        return;
    };
    if skipped() {
        return;
    }
    let paths: Vec<String> = list.split(':').map(str::to_owned).collect();
    let (gpu, _) = emulated(8 << 30);
    let mut report = Report { good: true, ..Report::default() };
    gpu_test::models(&gpu, &paths, 10, &mut report).expect("models run");
    assert!(report.good, "{}", report.text);
}
