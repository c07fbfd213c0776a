"""Run networks in PyTorch, CUDA graphs, OpenVINO or ONNX Runtime."""
