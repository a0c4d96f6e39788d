//! A device is what was asked for, or an error that says what is missing.

use roundwise_compute::{ComputeError, Device, Devices};

#[test]
fn names_come_back() {
    for name in ["auto", "cpu", "ndarray", "cuda:0", "cuda:12"] {
        assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
    }
    assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
}

#[test]
fn other_names_are_refused() {
    for name in [
        "",
        "CPU",
        "gpu",
        "cuda:",
        "cuda:-1",
        "cuda:+1",
        "cuda: 1",
        "cuda:x",
        "cuda:99999999999999999999999",
    ] {
        let error = name.parse::<Device>().unwrap_err();
        assert_eq!(error, ComputeError::UnknownDevice { found: name.to_owned() });
        assert!(error.to_string().contains("use one of auto, cpu"), "{error}");
    }
}

#[test]
fn several_devices_are_cuda_devices_each_named_once() {
    let devices: Devices = "cuda:0,cuda:1".parse().unwrap();
    assert_eq!(devices.named(), [Device::Cuda(0), Device::Cuda(1)]);
    assert_eq!(devices.to_string(), "cuda:0,cuda:1");
    assert_eq!("cpu".parse(), Ok(Devices::from(Device::Cpu)));
    for (found, problem) in [
        ("cuda:0,cpu", "only CUDA devices"),
        ("auto,cuda:0", "only CUDA devices"),
        ("cuda,cuda:0", "named twice"),
        ("cuda:0,", "`` is not known"),
        ("", "`` is not known"),
    ] {
        let error = found.parse::<Devices>().unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains("cuda:0,cuda:1"), "{error}");
    }
}

#[test]
fn the_cpu_is_always_there() {
    assert_eq!(Device::Cpu.resolve().unwrap().device(), Device::Cpu);
    assert_eq!(Device::NdArray.resolve().unwrap().device(), Device::NdArray);
}

#[test]
fn auto_always_resolves() {
    assert_ne!(Device::Auto.resolve().unwrap().device(), Device::Auto);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_says_so() {
    let error = Device::Cuda(1).resolve().unwrap_err();
    assert_eq!(error, ComputeError::CudaNotBuilt { device: Device::Cuda(1) });
    let several: Devices = "cuda:1,cuda:0".parse().unwrap();
    assert_eq!(several.resolve().unwrap_err(), error);
    assert_eq!(error.to_string(), "cuda:1: this build has no CUDA; build it with feature `cuda`");
}

#[cfg(feature = "cuda")]
#[test]
fn a_machine_without_a_driver_says_so() {
    match Device::Cuda(0).resolve() {
        Err(error @ ComputeError::NoCudaDriver { .. }) => {
            assert!(error.to_string().contains("no CUDA driver was found"), "{error}");
            assert_eq!(Device::Auto.resolve().unwrap().device(), Device::Cpu);
            let several: Devices = "cuda:0,cuda:1".parse().unwrap();
            assert_eq!(several.resolve().unwrap_err(), error);
        }
        Err(error) => eprintln!("skipped, another piece is missing: {error}"),
        Ok(engine) => assert_eq!(engine.device(), Device::Cuda(0)),
    }
}

#[cfg(feature = "cuda")]
#[test]
fn an_index_past_the_last_device_is_refused() {
    assert!(Device::Cuda(4096).resolve().is_err());
}
