"""What a study is: its file, checked and typed; where its results lie; what they depend on."""
