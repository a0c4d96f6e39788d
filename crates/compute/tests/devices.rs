//! A device is what was asked for, or an error that says what is missing.

#![allow(clippy::print_stderr, reason = "a device that is not here is told of")]

use roundwise_compute::{Choice, ComputeError, Device, Devices, NoDiscreteGpu};

#[test]
fn names_come_back() {
    for name in ["auto", "cpu", "ndarray", "cuda:0", "cuda:12", "vulkan:0", "vulkan:3", "metal:0"] {
        assert_eq!(name.parse::<Device>().unwrap().to_string(), name);
    }
    assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
    assert_eq!("vulkan".parse(), Ok(Device::Vulkan(0)));
    assert_eq!("metal".parse(), Ok(Device::Metal(0)));
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
        "cuda:0:0",
        "vulkan:",
        "vulkan:-1",
        "cpu:0",
        "auto:1",
    ] {
        let error = name.parse::<Device>().unwrap_err();
        assert_eq!(error, ComputeError::UnknownDevice { found: name.to_owned() });
        assert!(error.to_string().contains("use one of auto, cpu"), "{error}");
    }
}

#[test]
fn several_devices_are_gpus_of_one_kind_each_named_once() {
    let devices: Devices = "cuda:0,cuda:1".parse().unwrap();
    assert_eq!(devices.named(), [Device::Cuda(0), Device::Cuda(1)]);
    assert_eq!(devices.to_string(), "cuda:0,cuda:1");
    let devices: Devices = "vulkan:1,vulkan".parse().unwrap();
    assert_eq!(devices.named(), [Device::Vulkan(1), Device::Vulkan(0)]);
    assert_eq!("cpu".parse(), Ok(Devices::from(Device::Cpu)));
    for (found, problem) in [
        ("cuda:0,cpu", "only GPUs of one kind"),
        ("auto,cuda:0", "only GPUs of one kind"),
        ("cpu,cpu", "only GPUs of one kind"),
        ("cuda:0,vulkan:0", "only GPUs of one kind"),
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
fn auto_always_resolves_and_says_why() {
    let engine = Device::Auto.resolve().unwrap();
    assert_ne!(engine.device(), Device::Auto);
    match (engine.device(), engine.choice()) {
        (Device::Cuda(0), Some(Choice::Cuda)) => {}
        (Device::Vulkan(0) | Device::Metal(0), Some(Choice::DiscreteGpu { .. })) => {}
        (Device::Cpu, Some(Choice::Cpu { cuda, .. })) => {
            assert_eq!(Device::Cuda(0).resolve().err().as_ref(), Some(cuda));
        }
        (Device::Cpu, None) if !cfg!(any(feature = "cuda", feature = "vulkan")) => {}
        (device, choice) => panic!("{device}: {choice:?}"),
    }
    assert_eq!(Device::Cpu.resolve().unwrap().choice(), None);
}

#[test]
fn a_build_without_a_library_says_so() {
    for (device, name, is_built) in [
        (Device::Cuda(1), "CUDA", cfg!(feature = "cuda")),
        (Device::Vulkan(1), "Vulkan", cfg!(feature = "vulkan")),
        (Device::Metal(1), "Metal", cfg!(feature = "vulkan")),
    ] {
        if is_built {
            continue;
        }
        let error = device.resolve().unwrap_err();
        assert_eq!(error, ComputeError::NotBuilt { device });
        let feature = name.to_lowercase();
        let expected =
            format!("{device}: this build has no {name}; build it with feature `{feature}`");
        assert_eq!(error.to_string(), expected);
        let several: Devices = format!("{device},{feature}:0").parse().unwrap();
        assert_eq!(several.resolve().unwrap_err(), error);
    }
}

/// Where the driver is there, the promise is shown by the GPU's own.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
#[test]
fn a_machine_without_a_driver_says_how_to_get_one() {
    for (device, way_out) in
        [(Device::Cuda(0), "install the NVIDIA driver"), (Device::Vulkan(0), "mesa-vulkan-drivers")]
    {
        match device.resolve() {
            Err(error @ ComputeError::NoDriver { .. }) => {
                let text = error.to_string();
                assert!(text.contains("driver was found") && text.contains(way_out), "{text}");
                assert_ne!(Device::Auto.resolve().unwrap().device(), device);
                let several: Devices =
                    format!("{device},{}:1", device.to_string().split(':').next().unwrap())
                        .parse()
                        .unwrap();
                assert_eq!(several.resolve().unwrap_err(), error);
            }
            Err(error) => eprintln!("not run: {error}"),
            Ok(engine) => assert_eq!(engine.device(), device),
        }
    }
}

#[test]
fn an_index_past_the_last_device_is_refused() {
    for device in [Device::Cuda(4096), Device::Vulkan(4096), Device::Metal(4096)] {
        assert!(device.resolve().is_err());
    }
}

#[test]
fn devices_of_another_system_are_refused_by_name() {
    let (other, instead) = match cfg!(target_os = "macos") {
        true => (Device::Vulkan(0), "use metal"),
        false => (Device::Metal(0), "use vulkan"),
    };
    let error = other.resolve().unwrap_err();
    if cfg!(feature = "vulkan") {
        assert_eq!(error, ComputeError::WrongSystem { device: other });
        assert!(error.to_string().contains(instead), "{error}");
    }
}

#[test]
fn a_choice_says_what_keeps_other_devices_from_being_used() {
    let cuda = ComputeError::NoDriver { device: Device::Cuda(0) };
    let name = "AMD Radeon RX 7900 XTX".to_owned();
    let discrete = Choice::DiscreteGpu { name: name.clone(), cuda: cuda.clone() }.to_string();
    assert!(discrete.contains(&name) && discrete.contains("no CUDA driver"), "{discrete}");
    let device = Device::Vulkan(0);
    let other = NoDiscreteGpu::Other { device, name: "llvmpipe".to_owned() };
    let cpu = Choice::Cpu { cuda, graphics: other }.to_string();
    assert!(cpu.contains("no CUDA driver") && cpu.contains("vulkan:0: llvmpipe is no"), "{cpu}");
}
