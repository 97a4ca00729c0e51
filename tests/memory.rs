//! What a run needs is known before it starts, and what cannot be had is refused there.

mod support;

use support::*;
use tiebreak::net::{Graph, Network, zoo};
use tiebreak::train::Optimizer;
use tiebreak::*;

fn network(engine: &Engine, name: &str, precision: &str) -> Network {
    let graph = zoo::by_name(name, &Default::default()).unwrap();
    Network::new(engine, &graph, precision.parse::<Precision>().unwrap(), 1).unwrap()
}

#[test]
fn the_plan_is_what_is_allocated() {
    for (name, engine) in engines() {
        for precision in ["f16", "f32", "mixed", "bf16"] {
            for training in [false, true] {
                let mut network = network(&engine, "lenet5", precision);
                let plan = network.memory_plan(8, training).unwrap();
                let x = Tensor::zeros(network.dtype(), &[8, 1, 28, 28]).unwrap();
                let labels = [1; 8];
                if training {
                    network.loss_and_gradients(x.view(), &labels).unwrap();
                } else {
                    network.evaluate(x.view(), &labels).unwrap();
                }
                let held = network.allocated_bytes();
                // Buffers start on cache lines; programs hold their parameter blocks; staging memory is kept.
                let slack = 64 * 80 + if name == "gpu" { 200_000 } else { 0 };
                assert!(
                    held >= plan.total() && held <= plan.total() + slack,
                    "{precision}, training {training} on {name}: holds {held}, planned {plan:?}"
                );
                let again = network.memory_plan(8, training).unwrap();
                assert_eq!(plan, again);
            }
        }
    }
}

/// Peaks of an engine of its own: what the plan says, optimizer state, and the working memory of kernels.
#[test]
fn peaks_follow_the_plan() {
    for (name, device) in [("cpu", Device::Cpu), ("gpu", Device::Gpu)] {
        if name == "gpu" && gpu().is_none() {
            continue;
        }
        let engine = Engine::new(&EngineOptions { device, threads: 8, ..Default::default() }).unwrap();
        let used = || if name == "gpu" { engine.device_memory() } else { engine.host_memory() };
        let mut network = network(&engine, "lenet5", "f32");
        let plan = network.memory_plan(32, true).unwrap();
        let x = Tensor::zeros(DType::F32, &[32, 1, 28, 28]).unwrap();
        // Whichever threads take the kernels.
        for _ in 0..10 {
            network.loss_and_gradients(x.view(), &[1; 32]).unwrap();
        }
        let running = used();
        assert!(running.bytes >= plan.total() && running.peak >= running.bytes, "{running:?} {plan:?}");
        // Kernels of the CPU copy images with their border, and weights in panels.
        assert!(running.peak < plan.total() + (12 << 20), "{name}: {running:?} {plan:?}");
        let held = network.allocated_bytes();
        drop(network);
        let after = used();
        assert!(after.bytes + held <= running.bytes + 1024, "{name}: {after:?} {running:?} {held}");
        assert!(after.peak >= running.peak);
        if name == "gpu" {
            assert!(engine.host_memory().peak < 1 << 20, "nothing of it is on the host");
        }
    }
}

#[test]
fn evaluation_needs_less_than_training() {
    let network = network(&Engine::cpu(), "vgg11", "f32");
    let [training, evaluation] = [true, false].map(|t| network.memory_plan(32, t).unwrap());
    assert!(2 * evaluation.activations < training.activations, "{training:?} {evaluation:?}");
    assert_eq!(training.gradients, training.parameters);
}

#[test]
fn a_batch_beyond_memory_is_refused_before_the_run() {
    for (name, engine) in engines() {
        let mut network = network(&engine, "lenet5", "f32");
        // Too large for any machine's memory, yet with tensors that kernels can index.
        let batch = 1 << 21;
        let plan = network.memory_plan(1 << 16, true).unwrap();
        assert!(plan.total() > 1 << 30);
        let before = network.allocated_bytes();
        match network.memory_plan(batch, true) {
            // A tensor of more than 2^31 elements.
            Err(e) => assert!(e.to_string().contains("elements"), "{e}"),
            Ok(plan) => panic!("{plan:?} on {name}"),
        }
        let x = Tensor::zeros(DType::F32, &[2, 1, 28, 28]).unwrap();
        network.loss_and_gradients(x.view(), &[0, 1]).unwrap();
        assert!(network.allocated_bytes() > before, "the network goes on");
    }
}

#[test]
fn a_run_beyond_memory_is_refused_before_it_allocates() {
    for (name, device) in [("cpu", Device::Cpu), ("gpu", Device::Gpu)] {
        if name == "gpu" && gpu().is_none() {
            continue;
        }
        let limit = 64 << 20;
        let engine = EngineOptions { device, memory_limit: limit, ..Default::default() };
        let mut network = network(&Engine::new(&engine).unwrap(), "lenet5", "f32");
        let largest = |network: &Network| {
            (1..12)
                .map(|i| 1 << i)
                .take_while(|&n| network.memory_plan(n, true).unwrap().total() <= limit)
                .last()
        };
        let fits = largest(&network).unwrap();
        let before = network.allocated_bytes();
        let run = |network: &mut Network, batch: usize| {
            let x = Tensor::zeros(DType::F32, &[batch, 1, 28, 28]).unwrap();
            network.loss_and_gradients(x.view(), &vec![0; batch])
        };
        let error = run(&mut network, 4 * fits).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        assert!(error.to_string().contains("memory_limit"), "{error}");
        assert_eq!(network.allocated_bytes(), before, "{name}");
        run(&mut network, fits / 2).unwrap();
    }
}

/// Parameters, an optimizer's state and what a comparison needs count as well, and what is refused leaves nothing.
#[test]
fn everything_that_a_network_holds_counts() {
    let engine = |memory_limit| {
        Engine::new(&EngineOptions { device: Device::Cpu, memory_limit, ..Default::default() }).unwrap()
    };
    let graph = zoo::lenet5(&Default::default()).unwrap();
    let out_of_memory = |error: Error| {
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        assert!(error.to_string().contains("memory_limit"), "{error}");
    };
    out_of_memory(Network::new(&engine(1 << 18), &graph, DType::F32, 1).err().unwrap());
    let x = Tensor::zeros(DType::F32, &[4, 1, 28, 28]).unwrap();
    let mut network = network(&engine(0), "lenet5", "f32");
    network.loss_and_gradients(x.view(), &[0; 4]).unwrap();
    let held = network.allocated_bytes();
    network.gradient_norms().unwrap();
    let norms = network.allocated_bytes() - held;
    // Each begins on a cache line.
    let lines = network.parameters().map(|p| (p.shape.iter().product::<usize>() * 4).next_multiple_of(64));
    let gradients: usize = lines.sum();
    // A comparison takes norms of the gradients, the gradients to compare with, norms of the differences.
    for room in [0, norms, norms + gradients] {
        let mut network = Network::new(&engine(held + room), &graph, DType::F32, 1).unwrap();
        network.loss_and_gradients(x.view(), &[0; 4]).unwrap();
        out_of_memory(Optimizer::new(&mut network, AdamOptions::default()).unwrap_err());
        assert_eq!(network.allocated_bytes(), held);
        let kink = Kink::MaxPool(MaxPoolKink::beta(1.0, Composition::Exact));
        let mut compare = || {
            out_of_memory(network.compare(x.view(), &[0; 4], &[vec![kink.into()]]).unwrap_err());
            network.allocated_bytes()
        };
        let after = compare();
        assert_eq!(compare(), after, "{room}");
        assert!(after <= held + norms, "{room}");
        network.backward().unwrap();
    }
}

#[test]
fn absurd_sizes_are_refused() {
    let mut graph = Graph::new([1, 28, 28]);
    let x = graph.flatten("flatten", graph.input()).unwrap();
    graph.linear("head", x, 10, true).unwrap();
    let network = Network::new(&Engine::cpu(), &graph, DType::F32, 1).unwrap();
    for batch in [1 << 31, 1 << 51, usize::MAX] {
        for training in [false, true] {
            assert!(matches!(network.memory_plan(batch, training), Err(Error::Shape { .. })), "{batch}");
        }
    }
    let mut graph = Graph::new([1, 1, 1]);
    let x = graph.flatten("flatten", graph.input()).unwrap();
    graph.linear("head", x, 1 << 62, true).unwrap();
    let error = Network::new(&Engine::cpu(), &graph, DType::F32, 1).err().unwrap();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
}

#[test]
fn a_tensor_beyond_memory_is_refused() {
    for (name, engine) in engines() {
        let mut network = network(&engine, "vgg11", "f32");
        // Some 90 GB of activations in tensors of up to 8 GB.
        let batch = (1 << 15) - 1;
        if name == "cpu" && !std::fs::read_to_string("/proc/meminfo").is_ok_and(|t| small(&t)) {
            eprintln!("skipped: this machine's memory is large or unknown");
            continue;
        }
        let before = network.allocated_bytes();
        let x = Tensor::zeros(DType::F32, &[batch, 3, 32, 32]).unwrap();
        let error = network.loss_and_gradients(x.view(), &vec![0; batch]).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { .. }), "{name}: {error}");
        assert_eq!(network.allocated_bytes(), before, "{name}");
    }
}

/// Whether less than 64 GB are available.
fn small(meminfo: &str) -> bool {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.is_some_and(|kb| kb < 64_000_000)
}
