"""Text encoders as llama.cpp's files have them: its names, and its order of rows."""

import gguf
import torch


def written(architecture, blocks, heads=None):
    """Writes tensors of transformers' names into a GGUF file.

    `heads` are the numbers of heads of q and k, whose rows llama.cpp puts into another order for the architecture
    `llama`, where rotary positions turn neighbours.
    """

    def write(tensors, path):
        names = gguf.get_tensor_name_map(ARCHITECTURES[architecture], blocks)
        writer = gguf.GGUFWriter(str(path), architecture)
        writer.add_block_count(blocks)
        if heads:
            writer.add_head_count(heads[0])
            writer.add_head_count_kv(heads[1])
        for name, value in tensors.items():
            theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if theirs is None:
                raise ValueError(f"no name in this dialect for {name}")
            if architecture == "llama" and ".q_proj." in name:
                value = neighbours(value, heads[0])
            if architecture == "llama" and ".k_proj." in name:
                value = neighbours(value, heads[1])
            writer.add_tensor(theirs, value.float().contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return write


def neighbours(weight, heads):
    """Rows of a head's halves, alternating: row i of the one, row i of the other."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return torch.swapaxes(halves, 1, 2).reshape(weight.shape)


ARCHITECTURES = {
    "t5encoder": gguf.MODEL_ARCH.T5ENCODER,
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen2vl": gguf.MODEL_ARCH.QWEN2VL,
}
