"""lora_ref beside PEFT and PyTorch themselves; `make interop` installs them and runs this."""
